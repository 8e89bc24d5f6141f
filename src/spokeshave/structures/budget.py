"""A share of the outputs for all layers alike that meets a budget of multiply-adds."""

from collections.abc import Callable
from dataclasses import dataclass

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_patterns, is_number

STEPS = 12  # of the bisection
NEAR = 0.01  # of the budget


@dataclass(frozen=True)
class MultiplyAdds:
    """What is to stay of a network's multiply-adds, instead of shares of outputs: `MultiplyAdds(0.5)` is half.

    Outputs go from all layers that one of the `layers` patterns covers, the same share from each.
    """

    remaining: float
    layers: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        check_patterns("MultiplyAdds", "layers", self.layers)
        if not is_number(self.remaining) or not 0 < self.remaining < 1:
            raise SpokeshaveError(f"MultiplyAdds: remaining must be between 0 and 1, not {self.remaining!r}")


def nearest_share(counted: Callable[[float], int], before: int, budget: MultiplyAdds) -> float:
    """The share whose network has about as many multiply-adds as wanted; `counted` never falls with the share.

    Raises SpokeshaveError where even the smallest network has more than wanted, naming the nearest.

    >>> round(nearest_share(lambda share: round(1000 * share**2), 1000, MultiplyAdds(0.25)), 2)
    0.5
    """
    wanted, low, high, found = budget.remaining * before, 0.0, 1.0, {1.0: before}
    for _ in range(STEPS):
        share = (low + high) / 2
        found[share] = counted(share)
        if abs(found[share] - wanted) <= NEAR * wanted:
            return share
        low, high = (share, high) if found[share] < wanted else (low, share)
    nearest = min(found, key=lambda share: abs(found[share] - wanted))
    if low == 0.0 and found[nearest] > wanted:
        raise SpokeshaveError(
            f"{100 * budget.remaining:.3g}% of the multiply-adds cannot be reached: with one output left in each of "
            f"the layers {found[nearest] / before:.1%} remain"
        )
    return nearest
