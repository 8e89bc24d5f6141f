"""The loss of scores by labels, where labels that are no class are told by name."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from spokeshave.errors import SpokeshaveError


def loss_of(loss: Callable[[Any, Tensor], Tensor], scores: Any, labels: Tensor) -> Tensor:
    """`loss(scores, labels)`; raises SpokeshaveError for labels outside the classes that there are scores for.

    >>> import torch
    >>> loss_of(torch.nn.functional.cross_entropy, torch.zeros(2, 3), torch.tensor([0, 3]))
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: label 3 is out of range: there are scores for 3 classes, labels go from 0 to 2
    """
    try:
        return loss(scores, labels)
    except IndexError as error:
        classes = scores.shape[1] if isinstance(scores, Tensor) and scores.dim() > 1 else 0
        wrong = labels[(labels < 0) | (labels >= classes)]
        if not classes or not len(wrong):
            raise
        raise SpokeshaveError(
            f"label {int(wrong[0])} is out of range: there are scores for {classes} classes, "
            f"labels go from 0 to {classes - 1}"
        ) from error
