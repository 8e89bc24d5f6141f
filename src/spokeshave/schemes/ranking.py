"""Choosing what to keep: exact counts, ties broken by position, never a threshold alone."""

import numpy as np
import torch
from torch import Tensor

SHORT = 16  # rows up to here are ranked by comparing all pairs, several times as fast


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
    """What ranks the weights: the saliency, or else the squared weight, scaled so that no square underflows."""
    values = (weight if saliency is None else saliency).detach()
    values = values if values.dtype == torch.float64 else values.float()
    largest = values.abs().amax()
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
    if scores.shape[1] <= SHORT:
        return _ranks(scores) < counts[:, None]
    smallest_kept = _smallest_kept(scores, counts)
    above, equal = scores > smallest_kept, scores == smallest_kept
    some = counts[:, None] > 0
    kept = (above | equal) & some
    if kept.count_nonzero() == counts.clamp(min=0).sum():  # no ties to break
        return kept
    missing = counts[:, None] - above.sum(1, keepdim=True)
    return (above | (equal & (equal.cumsum(1) <= missing))) & some


def _ranks(scores: Tensor) -> Tensor:
    """How many entries of its row come before each: those that are larger, and equal ones on the left."""
    columns = scores.unbind(1)
    ranks = torch.zeros(scores.shape, dtype=torch.int8, device=scores.device)
    for place, column in enumerate(columns):
        for left in columns[:place]:
            ranks[:, place] += left >= column
        for right in columns[place + 1 :]:
            ranks[:, place] += right > column
    return ranks


def _smallest_kept(scores: Tensor, counts: Tensor) -> Tensor:
    """The `counts[i]`-th largest entry of each row, `[n, 1]`; the largest where the count is 0."""
    least, most = int(counts.min().clamp(min=1)), int(counts.max().clamp(min=1))
    if least == most and scores.device.type == "cpu":  # numpy selects with vectors: 10 to 30 times as fast
        place = scores.shape[1] - most
        return torch.from_numpy(np.partition(scores.numpy(), place, axis=1)[:, place : place + 1])
    return scores.topk(most, dim=1).values.gather(1, (counts[:, None] - 1).clamp(min=0))


def keep_within_budget(worth: Tensor, prices: Tensor, budget: int) -> Tensor:
    """Bool mask of the entries of most worth whose prices, whole numbers, add up to at most `budget`: exact.

    Of equal prices the entries of most worth are kept, so only how many of each price is open. Every choice is tried
    for all prices but the most frequent, of which as many are kept as then fit: meant for four prices or fewer.

    >>> keep_within_budget(torch.tensor([5.0, 4.0, 3.0]), torch.tensor([3, 2, 2]), budget=4)
    tensor([False,  True,  True])
    """
    kinds, frequency = prices.unique(return_counts=True)
    kinds = kinds[frequency.argsort(descending=True)]
    totals = [_prefix_sums(worth[prices == kind]) for kind in kinds]
    numbers = [torch.arange(len(total), device=worth.device) for total in totals[1:]]
    numbers = [number.view(-1, *[1] * later) for later, number in enumerate(reversed(numbers))][::-1]
    left = torch.full((), budget, device=worth.device)
    value = worth.new_zeros((), dtype=torch.float64)
    for kind, number, total in zip(kinds[1:], numbers, totals[1:], strict=True):
        left, value = left - kind * number, value + total[number]
    most = (left // kinds[0]).clamp(max=len(totals[0]) - 1)
    value = torch.where(left < 0, -torch.inf, value + totals[0][most.clamp(min=0)])
    best = torch.unravel_index(value.argmax(), value.shape)
    kept = torch.zeros_like(worth, dtype=torch.bool)
    for kind, count in zip(kinds, (most[best], *best), strict=True):
        kept[prices == kind] = keep_largest(worth[prices == kind], int(count))
    return kept


def _prefix_sums(values: Tensor) -> Tensor:
    """Sums of the k largest values for k = 0, 1, ..."""
    ordered = values.double().sort(descending=True).values
    return torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
