"""Learning rates as a pure function of the step, so that a resumed run needs no scheduler state."""

from math import cos, pi

WARM_UP = 0.15


def one_cycle(step: int, steps: int) -> float:
    """Fraction of the peak learning rate at `step` of `steps`: a short linear rise, then a cosine down to 0.

    >>> [round(one_cycle(step, 100), 2) for step in (0, 14, 15, 57, 99)]
    [0.07, 1.0, 1.0, 0.51, 0.0]
    """
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return (1 + cos(pi * (step - rise) / max(1, steps - rise))) / 2
