"""How much a scheme keeps where what it removes comes in units, such as blocks, of a few prices.

A budget is met from below to 1 % where some choice of units allows that, else by the choice that comes nearest to it
in weights. Units of a kind cost the same; of the kinds but the most frequent every number is tried, and of that one
as many as then fit: meant for four kinds or fewer.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil, floor

import torch
from torch import Tensor

from spokeshave.schemes.ranking import keep_largest

TOLERANCE = 0.01  # how far below the wanted number of weights what is kept may stay where units allow it
ROUNDING = 1e-6  # (1 - 0.9) * 10 is 0.999... in floating point

Kinds = tuple[tuple[int, int], ...]  # price and number of the units of each kind, the most frequent first


@dataclass(frozen=True)
class Budget:
    """Units are kept that cost at least `least` and at most `most` together."""

    least: int
    most: int


def kinds_of(prices: Tensor, each: int = 1) -> Kinds:
    """Prices and how many units have each, the most frequent first; every entry stands for `each` units.

    >>> kinds_of(torch.tensor([4, 2, 4]), each=10)
    ((4, 20), (2, 10))
    """
    kinds, frequency = prices.unique(return_counts=True)
    order = frequency.argsort(descending=True, stable=True)
    return tuple(zip(kinds[order].tolist(), (frequency[order] * each).tolist(), strict=True))


@cache
def budget_of(kinds: Kinds, wanted: float, slack: float | None = None) -> Budget:
    """What to spend for `wanted` weights: up to `slack` (1 % of them) less, or else the nearest that units add up to.

    >>> budget_of(((64, 4),), 130), budget_of(((64, 4),), 120), budget_of(((1, 500),), 300.5)
    (Budget(least=128, most=128), Budget(least=128, most=128), Budget(least=298, most=300))
    """
    slack = TOLERANCE * wanted if slack is None else slack
    below, above = _neighbours(kinds, wanted)
    if below >= wanted - slack - ROUNDING:
        return Budget(min(below, ceil(wanted - slack - ROUNDING)), below)
    nearest = above if above - wanted < wanted - below - ROUNDING else below
    return Budget(nearest, nearest)


def is_within_budget(used: Tensor, prices: Tensor, budget: Budget, each: int = 1) -> bool:
    """Whether the units in use, `used[i]` of the `each` at price i, are part of a choice that the budget allows."""
    kinds = kinds_of(prices, each)
    numbers = tuple(int(used[prices == price].sum()) for price, _ in kinds)
    if not any(numbers):
        return True
    spent, (price, most) = _spent(kinds, numbers), kinds[0]
    first = (budget.most - spent).div(price, rounding_mode="floor").clamp(max=most)
    return bool(((first >= numbers[0]) & (spent + first * price >= budget.least)).any())


def keep_within_budget(worth: Tensor, prices: Tensor, budget: Budget) -> Tensor:
    """Bool mask of the entries of most worth whose prices, whole numbers, add up to what the budget allows: exact.

    Of equal prices the entries of most worth are kept, of equally good ones the first; only how many of each price is
    open, and every choice is tried.

    >>> keep_within_budget(torch.tensor([5.0, 4.0, 3.0]), torch.tensor([3, 2, 2]), Budget(0, 4))
    tensor([False,  True,  True])
    """
    kinds = kinds_of(prices)
    if not kinds:
        return torch.zeros_like(worth, dtype=torch.bool)
    totals = [_prefix_sums(worth[prices == price]) for price, _ in kinds]
    spent = _spent(kinds, (0,) * len(kinds)).to(worth.device)
    most = (budget.most - spent).div(kinds[0][0], rounding_mode="floor").clamp(max=kinds[0][1])
    value = totals[0][most.clamp(min=0)]
    for axis, total in enumerate(totals[1:]):
        value = value + total.view(-1, *[1] * (len(kinds) - 2 - axis))
    allowed = (most >= 0) & (spent + most * kinds[0][0] >= budget.least)
    best = torch.unravel_index(torch.where(allowed, value, -torch.inf).argmax(), value.shape)
    kept = torch.zeros_like(worth, dtype=torch.bool)
    for (price, _), count in zip(kinds, (most[best], *best), strict=True):
        kept[prices == price] = keep_largest(worth[prices == price], int(count))
    return kept


def _neighbours(kinds: Kinds, wanted: float) -> tuple[int, int]:
    """The largest sum of prices that is not above what is wanted, and the smallest that is not below it."""
    spent = _spent(kinds, (0,) * len(kinds))
    price, most = kinds[0]
    down = (floor(wanted + ROUNDING) - spent).div(price, rounding_mode="floor").clamp(0, most)
    sums = torch.cat([(spent + number * price).flatten() for number in (down, (down + 1).clamp(max=most))])
    is_below = sums <= wanted + ROUNDING
    below = int(sums[is_below].max()) if is_below.any() else 0
    return below, int(sums[~is_below].min()) if not is_below.all() else below


def _spent(kinds: Kinds, used: tuple[int, ...]) -> Tensor:
    """What units of all kinds but the first cost, one axis a kind: from the number in use up to all of them."""
    spent = torch.zeros((), dtype=torch.long)
    for axis, ((price, most), number) in enumerate(zip(kinds[1:], used[1:], strict=True)):
        costs = price * torch.arange(number, most + 1)
        spent = spent + costs.view(-1, *[1] * (len(kinds) - 2 - axis))
    return spent


def _prefix_sums(values: Tensor) -> Tensor:
    """Sums of the k largest values for k = 0, 1, ..."""
    ordered = values.double().sort(descending=True).values
    return torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
