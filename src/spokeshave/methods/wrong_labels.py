"""Labels that are none of a network's classes, told by number where the network computes its loss itself."""

import re
from collections.abc import Callable, Mapping
from functools import partial, wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.data.labels import out_of_range, scores_of
from spokeshave.errors import SpokeshaveError


def tell_wrong_labels(network: nn.Module) -> Callable[[], None]:
    """Until what this gives is called: `forward` with a label out of range raises one clear SpokeshaveError."""
    before = vars(network).get("forward")
    if hasattr(network.forward, "tells_wrong_labels"):
        return lambda: None

    @wraps(type(network).forward)
    def telling(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        forward = before or partial(type(self).forward, self)
        try:
            return forward(*inputs, **named)
        except (IndexError, RuntimeError) as error:
            reason = _reason(forward, inputs, named)
            if reason is None:
                raise
            as_before()
            raise SpokeshaveError(reason) from error

    def as_before() -> None:
        vars(network).pop("forward", None)
        if before is not None:
            network.forward = before

    telling.tells_wrong_labels = True  # type: ignore[attr-defined]
    network.forward = MethodType(telling, network)  # a copy of the network has its own
    return as_before


def tell_wrong_target(error: BaseException) -> None:
    """Raise one clear SpokeshaveError for what PyTorch's losses say of a label that is none of the classes.

    >>> tell_wrong_target(IndexError("Target 9 is out of bounds."))
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: label 9 is out of range: labels go from 0 to one less than there are scores
    """
    said = re.fullmatch(r"Target (-?\d+) is out of bounds\.", str(error))
    if isinstance(error, IndexError) and said:
        raise SpokeshaveError(
            f"label {said[1]} is out of range: labels go from 0 to one less than there are scores"
        ) from error


@torch.no_grad()
def _reason(forward: Callable[..., Any], inputs: tuple[Any, ...], named: Mapping[str, Any]) -> str | None:
    """What is wrong with the labels of a call that failed, found with labels of class 0; None where they are right."""
    labels = named.get("labels")
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        return None
    try:
        scores = scores_of(forward(*inputs, **{**named, "labels": torch.zeros_like(labels)}))
    except (IndexError, RuntimeError):
        return None  # it was not the labels
    if not isinstance(scores, Tensor) or labels.shape not in (
        scores.shape[:-1],
        scores.shape[:1] + scores.shape[2:],
    ):
        return None
    return out_of_range(labels, scores.shape[1 if labels.shape != scores.shape[:-1] else -1])
