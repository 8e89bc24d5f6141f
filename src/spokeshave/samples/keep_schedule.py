"""How a share that is kept falls while a network is trained."""

from dataclasses import dataclass
from math import cos, pi

from spokeshave.errors import SpokeshaveError


@dataclass(frozen=True)
class KeepSchedule:
    """Everything at first, then by a cosine down to `keep`, step by step (Tri-Level E-ViT, arXiv 2211.10801).

    `hold` and `fall` are parts of the training; evaluation is always at `keep`.

    >>> [round(KeepSchedule(0.5, hold=0.25, fall=0.5)(step, 8), 2) for step in range(8)]
    [1.0, 1.0, 1.0, 0.93, 0.75, 0.57, 0.5, 0.5]
    """

    keep: float
    hold: float = 10 / 300
    fall: float = 100 / 300

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise SpokeshaveError(
                f"KeepSchedule: keep is the share that stays in the end, above 0 and at most 1, not {self.keep!r}"
            )
        if not (self.hold >= 0 and self.fall >= 0 and self.hold + self.fall <= 1):
            raise SpokeshaveError(
                f"KeepSchedule: hold and fall are parts of the training, at least 0 and together at most 1; "
                f"{self.hold:g} and {self.fall:g} end after it"
            )

    def __call__(self, step: int, steps: int) -> float:
        """The share kept in `step` of `steps`."""
        behind = step / steps - self.hold
        if behind <= 0:
            return 1.0
        if behind >= self.fall:
            return self.keep
        return self.keep + (1 - self.keep) * (cos(pi * behind / self.fall) + 1) / 2
