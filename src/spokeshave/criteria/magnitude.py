"""The squared weight: what removing it alone changes in the weights."""

from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """Saliency of each weight, its square; same shape as the weight."""
    return weight.detach().square()
