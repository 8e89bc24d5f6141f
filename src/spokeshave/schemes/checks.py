"""Checks that schemes share: every failure is one sentence."""

from torch import Tensor

from spokeshave.errors import SpokeshaveError


def check_fraction(owner: str, field: str, value: float) -> None:
    """Raise SpokeshaveError unless 0 <= value < 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise SpokeshaveError(f"{owner}: {field} must be a number in [0, 1), not {value!r}")


def check_weight(owner: str, weight: Tensor, saliency: Tensor | None = None) -> None:
    """Raise SpokeshaveError unless `weight` is a matrix or more, and `saliency` (if given) has its shape."""
    if weight.dim() < 2 or weight.numel() == 0 or not weight.is_floating_point():
        found = f"{weight.dtype} of shape {tuple(weight.shape)}".removeprefix("torch.")
        raise SpokeshaveError(f"{owner}: a weight must be floating-point with two axes or more, not {found}")
    if saliency is not None and saliency.shape != weight.shape:
        shapes = f"{tuple(saliency.shape)} but the weight {tuple(weight.shape)}"
        raise SpokeshaveError(f"{owner}: the saliency has shape {shapes}")
