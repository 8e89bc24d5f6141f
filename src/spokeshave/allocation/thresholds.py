"""One magnitude threshold for many layers: how much of each lies below it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, expm1, inf, sqrt

import torch
from torch import Tensor

STEPS = 200


@dataclass(frozen=True)
class Laplace:
    """Weights as a zero-mean Laplace distribution of scale `mean |w|`, the most likely one."""

    scale: float

    @staticmethod
    def of(weight: Tensor) -> "Laplace":
        """Fit to a weight."""
        return Laplace(float(weight.double().abs().mean()))

    def below(self, threshold: float) -> float:
        """The fraction of weights smaller than the threshold.

        >>> round(Laplace(0.02).below(0.04552), 4)
        0.8973
        """
        return -expm1(-threshold / self.scale) if self.scale else float(threshold > 0)

    def error(self, threshold: float) -> float:
        """The mean square of what is removed, counted over all weights: `E[w^2; |w| < threshold]`."""
        b, t = self.scale, threshold
        return 2 * b * b - exp(-t / b) * (t * t + 2 * b * t + 2 * b * b) if b else 0.0


@dataclass(frozen=True)
class Empirical:
    """The weights' own distribution: their sizes in ascending order."""

    sizes: Tensor

    @staticmethod
    def of(weight: Tensor) -> "Empirical":
        """Sort a weight's sizes."""
        return Empirical(weight.double().abs().flatten().sort().values)

    def below(self, threshold: float) -> float:
        """The fraction of weights smaller than the threshold."""
        place = torch.searchsorted(self.sizes, torch.tensor([threshold], dtype=torch.float64).to(self.sizes))
        return int(place) / len(self.sizes)


Distribution = Laplace | Empirical


@dataclass(frozen=True)
class Population:
    """A layer's weights: how many, how distributed, at most what fraction may go, what a squared error costs."""

    count: int
    distribution: Distribution
    most: float
    sensitivity: float

    def removed(self, threshold: float) -> float:
        """The fraction removed at a threshold for the network; the layer's own is smaller where errors cost more."""
        return min(self.most, self.distribution.below(threshold / sqrt(self.sensitivity)))


def removed_fractions(populations: Sequence[Population], sparsity: float) -> tuple[list[float], float]:
    """What each layer loses when all lose `sparsity` together, and the threshold.

    The error's derivative by the removed fraction is `sensitivity * threshold^2`, so the sum of errors is least where
    that is one number for all. Layers at their limit stay there and the others give more. Where many weights
    are equal no threshold meets the budget; each layer then takes its part of the jump.
    """
    total = sum(population.count for population in populations)

    def lost(fractions: list[float]) -> float:
        counts = (population.count for population in populations)
        return sum(count * part for count, part in zip(counts, fractions, strict=True)) / total

    def at(threshold: float) -> list[float]:
        return [population.removed(threshold) for population in populations]

    low, high = bracket(lambda threshold: lost(at(threshold)) >= sparsity)
    few, many = at(low), at(high)
    jump = lost(many) - lost(few)
    part = min(1.0, (sparsity - lost(few)) / jump) if jump > 0 else 1.0
    return [a + part * (b - a) for a, b in zip(few, many, strict=True)], high


def bracket(enough: Callable[[float], bool]) -> tuple[float, float]:
    """Neighbouring numbers >= 0 between which a condition that holds from some number on begins to hold.

    >>> low, high = bracket(lambda number: number >= 0.3)
    >>> low < 0.3 <= high, high - low < 1e-12
    (True, True)
    """
    low, high = 0.0, 1.0
    while not enough(high) and high < inf:
        low, high = high, high * 2
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low, high
