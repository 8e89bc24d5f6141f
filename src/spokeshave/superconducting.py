"""What a column of an AQFP crossbar gives: the direction of a current, near zero a random one.

A cell adds or takes off a unit of current; a superconducting buffer takes the sign of the column's sum v and, within
its grey zone, gives the wrong one with some probability (SupeRBNN, arXiv 2309.12212; the law of Josephson comparators):

    P(+1 | v) = 1/2 + 1/2 erf(sqrt(pi) v / width)      width = grey_zone / (cell_current * height^-attenuation)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError


@dataclass(frozen=True)
class Columns:
    """Columns of crossbars of `height` cells, read for `stream` clocks.

    `grey_zone` and `cell_current` are in ampere; the current of a cell falls with the height of its column to the power
    of `attenuation`.
    """

    height: int = 36
    grey_zone: float = 2.4e-6
    cell_current: float = 70e-6
    attenuation: float = 0.75
    stream: int = 16

    def __post_init__(self) -> None:
        for field in ("height", "stream"):
            value = getattr(self, field)
            if type(value) is not int or value < 1:
                raise SpokeshaveError(f"columns: {field} must be a whole number from 1 up, not {value!r}")
        for field in ("grey_zone", "cell_current"):
            if not getattr(self, field) > 0:
                raise SpokeshaveError(f"columns: {field} must be above 0, not {getattr(self, field)!r}")

    @property
    def width(self) -> float:
        """The grey zone in units of one cell; its standard deviation is `width / sqrt(2 pi)`."""
        return self.grey_zone / (self.cell_current * self.height**-self.attenuation)

    def expectation(self, sums: Tensor) -> Tensor:
        """What a column gives on average, from -1 to 1; can be differentiated."""
        return torch.erf(sums * (sqrt(pi) / self.width))

    def counts(self, sums: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """How many of the stream's bits are 1, float32 of the shape of `sums`."""
        probability = (1 + self.expectation(sums)) / 2
        return torch.binomial(torch.full_like(probability, self.stream), probability, generator)


def fit_attenuation(heights: Sequence[int], currents: Sequence[float]) -> tuple[float, float]:
    """`cell_current` and `attenuation` from currents (ampere) of a cell in columns of several heights: least squares.

    >>> current, power = fit_attenuation([4, 16, 64], [4e-5, 2e-5, 1e-5])
    >>> round(current * 1e5, 6), round(power, 6)
    (8.0, 0.5)
    """
    if len(heights) != len(currents) or len(set(heights)) < 2 or min((*heights, *currents)) <= 0:
        raise SpokeshaveError("a fit needs the currents, above 0, of columns of two heights or more")
    x, y = (torch.tensor(numbers, dtype=torch.float64).log() for numbers in (heights, currents))
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return float((y.mean() - slope * x.mean()).exp()), -float(slope)
