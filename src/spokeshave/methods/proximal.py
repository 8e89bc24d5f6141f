"""The proximal term of ADMM, `rho / 2 * sum ||W - target||^2`, with its gradient written down."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _Proximal(torch.autograd.Function):
    """One fused pass over all weights forward, one backward; autograd would keep three copies of each."""

    @staticmethod
    def forward(context: Any, rho: float, targets: list[Tensor], *weights: Tensor) -> Tensor:
        gaps = torch._foreach_sub(weights, targets)
        context.gaps, context.rho = gaps, rho
        return torch.stack(torch._foreach_norm(gaps)).square().sum() * (rho / 2)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *torch._foreach_mul(context.gaps, gradient * context.rho))


def proximal(weights: Sequence[Tensor], targets: Sequence[Tensor], rho: float) -> Tensor:
    """`rho / 2 * sum ||weight - target||^2` as a scalar that can be differentiated by the weights.

    >>> weight = torch.tensor([2.0, 0.0], requires_grad=True)
    >>> term = proximal([weight], [torch.tensor([0.0, 1.0])], rho=0.5)
    >>> term.backward()
    >>> term.item(), weight.grad.tolist()
    (1.25, [1.0, -0.5])
    """
    return _Proximal.apply(rho, list(targets), *weights)
