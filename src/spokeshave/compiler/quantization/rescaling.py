"""Whole numbers rescaled without a floating-point number: by a multiplier and a shift, or by a shift alone."""

from math import frexp

import torch
from torch import Tensor

from spokeshave.compiler.operations.integers import Rounding
from spokeshave.errors import SpokeshaveError

MULTIPLIER_BITS = 31
MOST_SHIFT = 62
ADVICE = (
    "; leave the layer without a scheme, so that its scales are powers of two, or where it is binary put a Sign "
    "(spokeshave.networks.Sign) before it and behind its batch norm, as the built-in digits-binary has them"
)


def rescaled(sums: Tensor, multiplier: Tensor, shift: Tensor, rounding: Rounding, added: Tensor) -> Tensor:
    """`(sums * multiplier + added + half) >> shift`, all int64 and broadcast against each other.

    "once" rounds halves up. "twice", which adds nothing, is gemmlowp's arithmetic (arXiv 1712.05877, section 2.4): the
    upper half of the doubled product, rounded, then a division by a power of two that rounds halves away from zero.
    """
    if rounding == "twice":
        return _twice(sums, multiplier, shift)
    half = torch.where(shift > 0, 1 << (shift - 1).clamp(min=0), 0)
    return (sums * multiplier + added + half) >> shift


def _twice(sums: Tensor, multiplier: Tensor, shift: Tensor) -> Tensor:
    product = (sums << (MULTIPLIER_BITS - shift).clamp(min=0)) * multiplier
    half = 1 << MULTIPLIER_BITS - 1
    nudged = product + torch.where(product >= 0, half, 1 - half)
    upper = torch.div(nudged, 1 << MULTIPLIER_BITS, rounding_mode="trunc")
    rest = (shift - MULTIPLIER_BITS).clamp(min=0)
    mask = (1 << rest) - 1
    return (upper >> rest) + ((upper & mask) > (mask >> 1) + (upper < 0)).long()


def multipliers(factors: Tensor, residual: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Multipliers of 31 bits, shifts, and the residual's multipliers, for real factors `[rows]`, float64.

    All int64 `[rows]`; a row's factor and the residual's share its shift.
    """
    largest = factors if residual is None else factors.clamp(min=residual)
    shift = (MULTIPLIER_BITS - torch.frexp(largest).exponent).clamp(max=MOST_SHIFT)
    scaled = torch.ldexp(factors, shift).round()
    joined = torch.ldexp(torch.full_like(factors, residual or 0.0), shift).round()
    too_large = torch.maximum(scaled, joined) >= 1 << MULTIPLIER_BITS  # rounded up to the next power of two
    scaled, joined = (torch.where(too_large, (values / 2).round(), values) for values in (scaled, joined))
    shift = shift - too_large.int()
    if bool((shift < 0).any()):
        raise SpokeshaveError("a scale is too large to be a multiplier and a shift")
    return scaled.long(), shift.long(), joined.long()


def shifts(factors: Tensor, residual: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The same where all factors are powers of two: so are the multipliers, and the smaller one is 1.

    Raises SpokeshaveError for other factors.
    """
    orders = torch.tensor([order_of(factor) for factor in factors.tolist()])
    joined = torch.full_like(orders, 0 if residual is None else order_of(residual))
    shift = -torch.minimum(orders, joined if residual is not None else orders).clamp(max=0)
    return 1 << orders + shift, shift, (1 << joined + shift) * (residual is not None)


def order_of(factor: float) -> int:
    """The power of two that a factor is, to within rounding; raises SpokeshaveError for other numbers.

    >>> order_of(0.125), order_of(49 / 196)
    (-3, -2)
    """
    fraction, exponent = frexp(factor)
    if abs(fraction - 0.5) < 1e-9:
        return exponent - 1
    if abs(fraction - 1) < 1e-9:
        return exponent
    raise SpokeshaveError(f"a shift cannot rescale by {factor:.6g}, which is no power of two{ADVICE}")
