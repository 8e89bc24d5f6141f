"""What becomes of tokens that are not kept: dropped, averaged into a package, frozen, or zeroed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Drop:
    """They are gone."""


@dataclass(frozen=True)
class Package:
    """They leave one token behind, the mean of them weighted by their scores (SPViT, HeatViT).

    Each reducer appends one of its own, which later ones keep; with `single` a later package takes in the earlier.
    A package of nothing is zero.
    """

    single: bool = False


@dataclass(frozen=True)
class Freeze:
    """They stay where they are, as they are: attention passes them by, and no block changes them."""


@dataclass(frozen=True)
class Zero:
    """They stay where they are as zeros."""


Rest = Drop | Package | Freeze | Zero
RESTS = (Drop, Package, Freeze, Zero)
STAYING = (Freeze, Zero)  # the number of tokens does not change
