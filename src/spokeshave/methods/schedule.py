"""Learning rates as a pure function of the step, so that a resumed run needs no scheduler state."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_above, is_number

WARM_UP = 0.15

Schedule = Callable[[int, int], float]
"""The fraction of the peak learning rate at a step, of so many steps."""


@dataclass(frozen=True)
class Steps:
    """The whole rate at first, and `factor` of what it was from each part `at` of the training on.

    >>> [round(Steps((0.5, 0.75))(step, 8), 2) for step in range(8)]
    [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """

    at: tuple[float, ...]
    factor: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.at, tuple | list) or not all(
            is_number(part) and 0 <= part <= 1 for part in self.at
        ):
            raise SpokeshaveError(f"Steps: at are parts of the training from 0 to 1, not {self.at!r}")
        check_above("Steps", "factor", self.factor)

    def __call__(self, step: int, steps: int) -> float:
        """The fraction at `step` of `steps`."""
        return self.factor ** sum(step >= round(part * steps) for part in self.at)


def one_cycle(step: int, steps: int) -> float:
    """Fraction of the peak learning rate at `step` of `steps`: a short linear rise, then a cosine down to 0.

    >>> [round(one_cycle(step, 100), 2) for step in (0, 14, 15, 57, 99)]
    [0.07, 1.0, 1.0, 0.51, 0.0]
    """
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return (1 + cos(pi * (step - rise) / max(1, steps - rise))) / 2
