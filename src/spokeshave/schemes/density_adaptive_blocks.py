"""Each row has segments of its own length, with one weight in each: DARB (arXiv 1911.08020)."""

from dataclasses import dataclass
from functools import cache, reduce
from math import ceil, floor
from operator import or_, sub

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.budgets import ROUNDING, TOLERANCE, Budget
from spokeshave.schemes.checks import check_count, check_fraction, check_member, matrix_reason, shape_of
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.ranking import kept_count, support
from spokeshave.schemes.scheme import Composable, as_matrix
from spokeshave.schemes.segments import Segments, cut

NAME = "density_adaptive_blocks"
BISECTIONS = 50


@dataclass(frozen=True)
class DensityAdaptiveBlocks(Composable):
    """One weight in each segment of a row, and strong rows have short segments: `x . . . . x . .` above `x x . x`.

    The lengths are powers of two from 1 to `longest`; `sparsity` is the fraction of the weights that is removed, all
    segments of the matrix counted with one weight each. DARB reads a row's length off its density under unstructured
    pruning; here lengths are chosen for what the rows keep with them: all rows shorten their segments while a further
    weight is worth more than one threshold, which is bisected until the sparsity is met, and the rows that gain most
    use what is then left. So the point is as near as any under a budget that the threshold meets exactly. Where that
    leaves more than 1 %, as with few rows, every sum of segments is tried, and the nearest point found that meets the
    budget as nearly as segments add up to it.
    """

    sparsity: float
    longest: int = 256

    def __post_init__(self) -> None:
        check_fraction(NAME, "sparsity", self.sparsity)
        check_count(NAME, "longest", self.longest)
        if self.longest & (self.longest - 1):
            raise SpokeshaveError(f"{NAME}: longest must be a power of two, not {self.longest}")

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the largest weight, or the most salient, of each segment of the lengths chosen."""
        return project_by(NAME, self, weight, saliency, self._keep)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Even with the longest segments the matrix must be sparse enough."""
        if reason := matrix_reason(shape):
            return reason
        rows, columns = shape[0], torch.Size(shape[1:]).numel()
        fewest = rows * -(-columns // self.longest)
        if fewest <= kept_count(rows * columns, self.sparsity):
            return None
        return (
            f"segments of {self.longest} keep {fewest} of {rows * columns} weights, "
            f"so the sparsity can be {1 - fewest / (rows * columns):.3g} at most, not {self.sparsity}"
        )

    def contains(self, weight: Tensor) -> bool:
        """Whether the segments, as long in each row as its zeros allow, are few enough."""
        if self.supports(shape_of(weight)):
            return False
        segments = _segments(weight[0].numel(), self._row_lengths(weight))
        return int(segments.sum()) <= self._budget(weight).most

    def pack(self, weight: Tensor) -> Segments:
        """Store one value a segment, rows of equal lengths together; raises SpokeshaveError outside the set."""
        check_member(NAME, self, weight, "its rows need too many segments")
        return Segments.by_length(weight, self._row_lengths(weight).cpu())

    def _budget(self, weight: Tensor) -> Budget:
        rows, columns = as_matrix(weight).shape
        prices = _segments(columns, torch.tensor(self._lengths(columns)))
        return _budget_of_rows(rows, tuple(prices.tolist()), (1 - self.sparsity) * weight.numel())

    def _lengths(self, columns: int) -> list[int]:
        """Powers of two up to `longest`; those beyond the first that covers a row mean nothing new."""
        return [1 << power for power in range(self.longest.bit_length()) if 1 << power < 2 * columns]

    def _row_lengths(self, weight: Tensor) -> Tensor:
        """The longest segments that each row's zeros allow, `[rows]`."""
        kept = support(as_matrix(weight)).int()
        lengths = self._lengths(kept.shape[1])
        allowed = torch.stack([cut(kept, length).sum(2).amax(1) <= 1 for length in lengths], dim=1)
        return torch.tensor(lengths, device=weight.device)[allowed.sum(1) - 1]

    def _keep(self, worth: Tensor) -> Tensor:
        matrix = as_matrix(worth)
        lengths = torch.tensor(self._lengths(matrix.shape[1]), device=worth.device)
        largest = [cut(matrix, length).amax(2).double().sum(1) for length in lengths.tolist()]
        prices = _segments(matrix.shape[1], lengths)
        chosen = _lengths_within(torch.stack(largest, dim=1), prices, self._budget(worth))
        kept = torch.zeros_like(matrix, dtype=torch.bool)
        for choice, length in enumerate(lengths.tolist()):
            rows = chosen == choice
            kept[rows] = _largest_of_each(matrix[rows], length)
        return kept.view(worth.shape)


def _segments(columns: int, lengths: Tensor) -> Tensor:
    return (columns + lengths - 1) // lengths


def _largest_of_each(matrix: Tensor, length: int) -> Tensor:
    """Bool: the first of the largest entries of each segment."""
    segments = cut(matrix, length, fill=-torch.inf)
    return F.one_hot(segments.argmax(2), length).bool().flatten(1)[:, : matrix.shape[1]]


@cache
def _budget_of_rows(rows: int, prices: tuple[int, ...], wanted: float) -> Budget:
    """What rows may spend, each one of the prices: up to 1 % less than `wanted`, or the nearest that they add up to.

    >>> _budget_of_rows(1, (133, 67, 34), 132.75), _budget_of_rows(3, (4, 2, 1), 9.5)
    (Budget(least=133, most=133), Budget(least=9, most=9))
    """
    least, most = ceil((1 - TOLERANCE) * wanted - ROUNDING), floor(wanted + ROUNDING)
    if max(map(sub, prices, prices[1:]), default=0) <= most - least:
        return Budget(least, most)  # row by row to the next price, sums cannot leap over it
    sums, reach = 1, (1 << most + prices[0] + 1) - 1  # bit n: rows can add up to n
    for _ in range(rows):
        sums = reduce(or_, (sums << price for price in prices)) & reach
    below, above = (sums & (1 << most + 1) - 1).bit_length() - 1, sums >> most + 1
    if below >= least or not above:
        return Budget(min(least, below), below)
    next_ = most + (above & -above).bit_length()
    return Budget(next_, next_) if next_ - wanted < wanted - below - ROUNDING else Budget(below, below)


def _lengths_within(worth: Tensor, prices: Tensor, budget: Budget) -> Tensor:
    """Choice of each row, `[rows]`, for the most worth; choice j is worth `worth[:, j]` and costs `prices[j]`."""
    low, high = 0.0, 2 * float(worth.amax())
    chosen = torch.full((len(worth),), len(prices) - 1, device=worth.device)
    for _ in range(BISECTIONS):
        threshold = (low + high) / 2
        choice = (worth - threshold * prices).argmax(1)
        fits = int(prices[choice].sum()) <= budget.most
        low, high = (low, threshold) if fits else (threshold, high)
        chosen = choice if fits else chosen
    chosen = _spent(worth, prices, budget.most, chosen)
    return chosen if prices[chosen].sum() >= budget.least else _of_every_sum(worth, prices, budget)


def _spent(worth: Tensor, prices: Tensor, budget: int, chosen: Tensor) -> Tensor:
    """Shorter segments for the row that gains most a weight, again and again, while the budget allows one more."""
    every = torch.arange(len(worth), device=worth.device)
    while True:
        further = prices - prices[chosen][:, None]
        allowed = (further > 0) & (further <= budget - int(prices[chosen].sum()))
        gain = torch.where(allowed, (worth - worth[every, chosen][:, None]) / further, 0)
        best = int(gain.argmax())
        if gain.flatten()[best] <= 0:
            return chosen
        chosen = chosen.clone()
        chosen[best // len(prices)] = best % len(prices)


def _of_every_sum(worth: Tensor, prices: Tensor, budget: Budget) -> Tensor:
    """The same by dynamic programming, row by row over what is spent; rows are few where it is called for."""
    best = worth.new_full((budget.most + 1,), -torch.inf)
    best[0] = 0
    choices = []
    for row in worth:
        options = best.new_full((len(prices), len(best)), -torch.inf)
        for choice, price in enumerate(prices.clamp(max=len(best)).tolist()):
            options[choice, price:] = best[: len(best) - price] + row[choice]
        best, choice_at = options.max(0)
        choices.append(choice_at)
    spent = budget.least + int(best[budget.least :].argmax())
    chosen = []
    for choice_at in reversed(choices):
        chosen.append(int(choice_at[spent]))
        spent -= int(prices[chosen[-1]])
    return torch.tensor(chosen[::-1], device=worth.device)
