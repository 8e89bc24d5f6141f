"""The slope at which what remains is what is wanted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError

LOWEST, HIGHEST, STEPS = -100.0, 100.0, 40
HALVINGS = 12

Left = Callable[[Mapping[str, float]], float]


@dataclass(frozen=True)
class Slopes:
    """`slopes` `[names, points]` by the share that remains, of which only the first, `shares`, are allowed.

    `last` `[names]` is the last point that each layer may take, where some may not take all of those.
    """

    names: tuple[str, ...]
    slopes: Tensor
    shares: tuple[float, ...]
    last: Tensor | None = None

    @property
    def ends(self) -> Tensor:
        """The last point of each layer, `[names]`."""
        return torch.full((len(self.names),), len(self.shares) - 1) if self.last is None else self.last

    def nearest(self, slope: float) -> Tensor:
        """The point of each layer whose slope is nearest, `[names]`.

        Of equally near ones the last, which removes most, where their slope is not above this one, else the first.
        """
        distance = (self.slopes - slope).abs()
        near = distance == distance.amin(1, keepdim=True)
        places = torch.arange(self.slopes.shape[1]).expand_as(distance)
        last = torch.where(near & (self.slopes <= slope), places, -1).amax(1)
        first = torch.where(near, places, self.slopes.shape[1]).amin(1)
        return torch.minimum(torch.where(last >= 0, last, first), self.ends)

    def at(self, points: Tensor) -> dict[str, float]:
        """Shares by name."""
        return {name: self.shares[int(point)] for name, point in zip(self.names, points, strict=True)}


def settle(slopes: Slopes, left: Left, target: float, tolerance: float) -> tuple[dict[str, float], float]:
    """The shares at a common slope that leave `target`, within `tolerance` if the grid allows; and what they leave.

    The slope is searched for by its exponent, since it spans decades. Where the curves jump (or all are flat), the
    layers that jump go the same part of their way. Raises SpokeshaveError for a target that is out of reach.
    """
    tried: dict[tuple[int, ...], float] = {}

    def leaves(points: Tensor) -> float:
        key = tuple(points.tolist())
        if key not in tried:
            tried[key] = left(slopes.at(points))
        return tried[key]

    least = slopes.ends
    if leaves(least) > target + tolerance:
        raise SpokeshaveError(
            f"{target:.4g} cannot remain: with every layer at its floor {leaves(least):.4g} is left"
        )
    few, many = torch.zeros_like(least), least  # removed
    if (whole := left(slopes.at(few))) <= target:  # not among `tried`: near enough it must not end the search
        return slopes.at(few), whole
    bottom, low, high = float(slopes.slopes.min()), LOWEST, HIGHEST
    for _ in range(STEPS):
        if min(abs(found - target) for found in tried.values()) <= tolerance:
            break
        middle = (low + high) / 2
        points = slopes.nearest(bottom + 2**middle)
        if leaves(points) > target:
            few, low = points, middle
        else:
            many, high = points, middle
    else:
        _halve(few, many, leaves, target, tolerance)
    best = min(tried, key=lambda points: abs(tried[points] - target))
    return slopes.at(torch.tensor(best)), tried[best]


def _halve(
    few: Tensor, many: Tensor, leaves: Callable[[Tensor], float], target: float, tolerance: float
) -> None:
    """Try parts of the way from one choice to another, halving towards the target."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = leaves((few + middle * (many - few)).round().long())
        if abs(found - target) <= tolerance:
            return
        low, high = (middle, high) if found > target else (low, middle)
