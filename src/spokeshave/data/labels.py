"""The loss of scores by labels, where labels that do not fit the scores are told by name."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError

IGNORED = -100  # the label of what PyTorch's cross entropy leaves out


def scores_of(output: Any) -> Any:
    """What a network's scores are: `logits` of what transformers' networks give, else the output itself."""
    return output["logits"] if isinstance(output, Mapping) and "logits" in output else output


def loss_of(loss: Callable[[Any, Tensor], Tensor], output: Any, labels: Tensor | None) -> Tensor:
    """`loss(scores, labels)`; raises SpokeshaveError for labels that do not fit the scores, or are none of the classes.

    >>> loss_of(torch.nn.functional.cross_entropy, torch.zeros(2, 3), torch.tensor([0, 3]))
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: label 3 is out of range: there are scores for 3 classes, labels go from 0 to 2
    """
    scores = scores_of(output)
    try:
        return loss(scores, labels)  # type: ignore[arg-type]
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = _mistake(scores, labels)
        if reason is None:
            raise
        raise SpokeshaveError(reason) from error


def check_loss(found: object) -> None:
    """Raise SpokeshaveError unless a loss gave one number that has a gradient.

    >>> check_loss(torch.zeros(3))
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: the loss must give one number with a gradient, not a tensor of shape (3,)
    """
    if not isinstance(found, Tensor):
        raise SpokeshaveError(
            f"the loss must give one number with a gradient, not one of type {type(found).__name__}"
        )
    if found.numel() != 1:
        raise SpokeshaveError(
            f"the loss must give one number with a gradient, not a tensor of shape {tuple(found.shape)}"
        )
    if not found.requires_grad:
        raise SpokeshaveError(
            "the loss must give one number with a gradient; it depends on nothing that has one"
        )


def _mistake(scores: Any, labels: Tensor | None) -> str | None:
    """What is wrong with the labels of scores whose loss failed, or None where nothing can be told."""
    if labels is None:
        return "the batches hold no labels: give pairs (inputs, labels), or mappings with `labels`"
    if not isinstance(scores, Tensor):
        return f"the loss needs scores, or `logits`; the network gives {type(scores).__name__}"
    if not isinstance(labels, Tensor):
        return f"the labels of a batch must be a tensor, not of type {type(labels).__name__}"
    if scores.dim() < 2:
        return None
    if labels.shape != scores.shape[:1] + scores.shape[2:]:
        shapes = f"{tuple(labels.shape)} do not fit scores of shape {tuple(scores.shape)}"
        return f"labels of shape {shapes}: one a score is needed, or a loss of your own"
    if labels.is_floating_point():
        return f"labels are the numbers of classes, whole numbers, not {labels.dtype}".replace("torch.", "")
    reason = out_of_range(labels, scores.shape[1])
    if reason is None and labels.dtype not in (torch.int64, torch.uint8):
        return f"labels of type {labels.dtype} are none that PyTorch's losses read; give labels.long()"
    return reason


def out_of_range(labels: Tensor, classes: int) -> str | None:
    """Which label is none of so many classes, or None; what a loss ignores is no mistake.

    >>> out_of_range(torch.tensor([IGNORED, 1, -1]), 2)
    'label -1 is out of range: there are scores for 2 classes, labels go from 0 to 1'
    """
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
    if not len(wrong):
        return None
    found = f"label {int(wrong[0])} is out of range: there are scores for {classes} classes"
    return f"{found}, labels go from 0 to {classes - 1}"
