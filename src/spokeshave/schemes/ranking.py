"""Choosing what to keep: exact counts, ties broken by position, never a threshold alone."""

import numpy as np
import torch
from torch import Tensor

FAINT = 2.0**-40  # weights without saliency are ranked below this part of the largest
SHORT = 16  # rows up to here are ranked by comparing all pairs, several times as fast


def kept_count(total: int, sparsity: float) -> int:
    """How many of `total` weights may stay: rounded down, or to the nearest where that is off by more than 1 %.

    >>> kept_count(10, 0.9), kept_count(1005, 0.5), kept_count(7, 0.5), kept_count(9, 0.7)
    (1, 502, 3, 3)
    """
    wanted = total * (1 - sparsity)
    below = int(wanted + 1e-6)  # (1 - 0.9) * 10 is 0.999... in floating point
    return below if below >= 0.99 * wanted - 1e-6 else int(wanted + 0.5 - 1e-6)


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
    """What ranks the weights: the saliency, or else the squared weight, scaled so that no sum over- or underflows.

    Weights without saliency come after all others, the larger ones first, and size alone ranks where all saliencies
    are equal: so nothing is chosen by its place in the tensor, and a budget is met whatever the saliency says. Of a
    saliency with a sign only the order counts: the least of it becomes 0.
    """
    if saliency is None or saliency.max() == saliency.min():
        return _scaled(weight).square()
    worth = _scaled(lifted(saliency))
    if (worth != 0).all():
        return worth
    least = float(torch.where(worth > 0, worth, 1).amin())
    return torch.where(worth == 0, _scaled(weight).square() * (min(least, FAINT) * 2.0**-24), worth)


def lifted(saliency: Tensor) -> Tensor:
    """A saliency that is nowhere negative and ranks alike: moved up, in double precision, until its least is 0.

    >>> lifted(torch.tensor([-1.0, 0.0, 2.0])).tolist(), lifted(torch.tensor([1.0, 2.0])).tolist()
    ([0.0, 1.0, 3.0], [1.0, 2.0])
    """
    return saliency if saliency.min() >= 0 else saliency.double() - saliency.min()


def _scaled(values: Tensor) -> Tensor:
    """Times the power of two that brings the largest into [1/2, 1): exact."""
    values = values.detach()
    values = values if values.dtype == torch.float64 else values.float()
    exponent = int(torch.frexp(values.abs().amax()).exponent)
    if exponent == 0:
        return values
    return values * 2.0 ** (-exponent // 2) * 2.0 ** (-exponent - -exponent // 2)  # each factor has a float32


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
    columns = scores.T.contiguous()
    ranks = torch.zeros(columns.shape, dtype=torch.int8, device=scores.device)
    for place in range(len(columns)):
        for left in range(place):
            before = columns[left] >= columns[place]
            ranks[place] += before
            ranks[left] += ~before
    return ranks.T.contiguous()


def _smallest_kept(scores: Tensor, counts: Tensor) -> Tensor:
    """The `counts[i]`-th largest entry of each row, `[n, 1]`; the largest where the count is 0."""
    least, most = int(counts.min().clamp(min=1)), int(counts.max().clamp(min=1))
    if least == most and scores.device.type == "cpu":  # numpy selects with vectors: 10 to 30 times as fast
        place = scores.shape[1] - most
        return torch.from_numpy(np.partition(scores.numpy(), place, axis=1)[:, place : place + 1])
    return scores.topk(most, dim=1).values.gather(1, (counts[:, None] - 1).clamp(min=0))
