"""Values shared by many weights: clusters of numbers on a line, of which one stays at 0."""

from dataclasses import dataclass

import torch
from torch import Tensor

POINTS = 512  # places where a cluster may end; with as many different values or fewer the codebook is the best there is
ROUNDS = 50


def fit_codebook(values: Tensor, importance: Tensor, count: int) -> Tensor:
    """`count` values, ascending and 0 among them, with the least weighted squared distance to `values`: `[count]`.

    Sorted values make every cluster a span. The best spans are found by dynamic programming over up to 512 places, and
    k-means goes on from there where values lie more densely.
    """
    order = values.argsort()
    values, importance = values[order], importance[order]
    sums = _Sums.of(values, importance)
    table = _best_table(sums.at(_places(values)), count)
    for _ in range(ROUNDS):
        edges = torch.searchsorted(values, (table[1:] + table[:-1]) / 2)
        spans = torch.cat([edges.new_zeros(1), edges, edges.new_full((1,), len(values))])
        moved = torch.where(table == 0, 0, sums.at(spans).means(table)).sort().values
        if torch.equal(moved, table):
            break
        table = moved
    return table


@dataclass(frozen=True)
class _Sums:
    """Running sums of weights, weighted values and weighted squares, up to each place."""

    mass: Tensor
    moment: Tensor
    square: Tensor

    @staticmethod
    def of(values: Tensor, importance: Tensor) -> "_Sums":
        terms = (importance, importance * values, importance * values.square())
        return _Sums(*(torch.cat([values.new_zeros(1), term.cumsum(0)]) for term in terms))

    def at(self, places: Tensor) -> "_Sums":
        return _Sums(self.mass[places], self.moment[places], self.square[places])

    def means(self, otherwise: Tensor) -> Tensor:
        """The mean of each span from one place to the next; `otherwise` where a span weighs nothing."""
        inside = self.mass.diff()
        return torch.where(inside > 0, self.moment.diff() / torch.where(inside > 0, inside, 1), otherwise)

    def costs(self) -> tuple[Tensor, Tensor]:
        """Squared distance of the span between every two places to its mean and to 0, `[from, to]`."""
        mass, moment, square = (
            sums[None, :] - sums[:, None] for sums in (self.mass, self.moment, self.square)
        )
        to_mean = square - moment.square() / torch.where(mass > 0, mass, 1)
        backwards = torch.ones_like(mass, dtype=torch.bool).tril(-1)
        return to_mean.masked_fill(backwards, torch.inf), square.masked_fill(backwards, torch.inf)


def _places(values: Tensor) -> Tensor:
    """Where spans of sorted values may end: between different values, evenly many where there are too many."""
    steps = torch.nonzero(values.diff())[:, 0] + 1
    ends = torch.cat([steps.new_zeros(1), steps, steps.new_full((1,), len(values))])
    chosen = torch.linspace(0, len(ends) - 1, min(len(ends), POINTS + 1), device=values.device)
    return ends[chosen.round().long()]


def _best_table(sums: _Sums, count: int) -> Tensor:
    """The means of the best `count` spans, one of which, possibly empty, stands at 0."""
    to_mean, to_zero = sums.costs()
    free = torch.full_like(to_mean[0], torch.inf)
    free[0] = 0  # nothing is covered by no span
    with_zero = torch.full_like(free, torch.inf)
    choices = []
    for _ in range(count):
        next_free, free_from = (free[:, None] + to_mean).min(0)
        kept_zero, kept_from = (with_zero[:, None] + to_mean).min(0)
        new_zero, new_from = (free[:, None] + to_zero).min(0)
        is_new = new_zero < kept_zero
        choices.append((free_from, torch.where(is_new, new_from, kept_from), is_new))
        free, with_zero = next_free, torch.where(is_new, new_zero, kept_zero)
    return _follow(sums, choices)


def _follow(sums: _Sums, choices: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The table of the spans that were chosen, from the last one back."""
    place, zero_ahead = len(sums.mass) - 1, True
    table = []
    for free_from, zero_from, is_new in reversed(choices):
        is_zero = zero_ahead and bool(is_new[place])
        start = int(zero_from[place] if zero_ahead else free_from[place])
        mass = float(sums.mass[place] - sums.mass[start])
        table.append(0.0 if is_zero or mass <= 0 else float(sums.moment[place] - sums.moment[start]) / mass)
        place, zero_ahead = start, zero_ahead and not is_zero
    return torch.tensor(sorted(table), dtype=sums.mass.dtype, device=sums.mass.device)
