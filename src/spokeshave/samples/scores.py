"""How much an example is worth keeping, from what training has shown of it; the lowest are removed first."""

from collections.abc import Callable

import torch
from torch import Tensor

from spokeshave.samples.history import History


def forgetting(history: History) -> Tensor:
    """How often an example was forgotten (Toneva et al., arXiv 1812.05159); without end when it was never learned."""
    return torch.where(history.learned > 0, history.forgotten, torch.inf)


def loss(history: History) -> Tensor:
    """Mean loss."""
    return _where_seen(history.loss, history)


def gradient_norm(history: History) -> Tensor:
    """Mean norm of the gradient of the loss by the scores (EL2N, arXiv 2107.07075)."""
    return _where_seen(history.gradient, history)


def random(history: History) -> Tensor:
    """All the same, so that chance decides: the control."""
    return torch.zeros_like(history.seen)


def _where_seen(sums: Tensor, history: History) -> Tensor:
    """Mean over the epochs that showed an example; one that was not shown cannot be called easy."""
    return torch.where(history.seen > 0, sums / history.seen.clamp(min=1), torch.inf)


SCORES: dict[str, Callable[[History], Tensor]] = {
    "forgetting": forgetting,
    "loss": loss,
    "gradient_norm": gradient_norm,
    "random": random,
}
