"""Choosing what to keep: exact counts, ties broken by position, never a threshold alone."""

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError


def kept_count(total: int, sparsity: float) -> int:
    """How many of `total` weights may stay.

    >>> kept_count(10, 0.9)
    1
    """
    return int(total * (1 - sparsity) + 1e-6)  # (1 - 0.9) * 10 is 0.999... in floating point


def support(weight: Tensor) -> Tensor:
    """Bool tensor of the weight's shape: True where it is not zero. What masked training keeps."""
    return weight.detach() != 0


def density(weight: Tensor) -> float:
    """Fraction of the weights that are not zero.

    >>> density(torch.tensor([[0.0, 2.0], [0.0, 1.0]]))
    0.5
    """
    return int(support(weight).sum()) / weight.numel()


def score(weight: Tensor, saliency: Tensor | None) -> Tensor:
    """What ranks the weights: the saliency, or else the squared weight, scaled so that no square underflows.

    Raises SpokeshaveError where it is infinite or not a number: nothing can be ranked then.
    """
    values = (weight if saliency is None else saliency).detach()
    values = values if values.dtype == torch.float64 else values.float()
    largest = values.abs().amax()
    if not torch.isfinite(largest):
        raise SpokeshaveError(
            "a weight or its saliency holds infinite values or NaN; nothing can be ranked by it"
        )
    return values if saliency is not None or largest == 0 else (values / largest).square()


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """Bool mask of the `count` largest entries of a vector; of equal ones the first.

    >>> keep_largest(torch.tensor([1.0, 3.0, 1.0, 1.0]), 2)
    tensor([ True,  True, False, False])
    """
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count >= scores.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    smallest_kept = scores.kthvalue(scores.numel() - count + 1).values
    above, equal = scores > smallest_kept, scores == smallest_kept
    return above | (equal & (equal.cumsum(0) <= count - above.sum()))


def keep_largest_per_row(scores: Tensor, counts: Tensor) -> Tensor:
    """Bool mask of the `counts[i]` largest entries of each row i of `[n, m]`; of equal ones the first.

    >>> keep_largest_per_row(torch.tensor([[1.0, 2.0], [2.0, 2.0]]), torch.tensor([1, 1]))
    tensor([[False,  True],
            [ True, False]])
    """
    most = max(1, int(counts.max()))
    ranked = scores.topk(most, dim=1).values
    smallest_kept = ranked.gather(1, (counts[:, None] - 1).clamp(min=0))
    above, equal = scores > smallest_kept, scores == smallest_kept
    missing = counts[:, None] - above.sum(1, keepdim=True)
    return (above | (equal & (equal.cumsum(1) <= missing))) & (counts[:, None] > 0)
