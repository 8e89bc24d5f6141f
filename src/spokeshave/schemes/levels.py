"""Nearest levels and the scale of them that suits a row: what all quantizers share.

Levels are multiples of a scale. Saliency is what a weight is worth, so an error in it costs saliency / weight^2 times
its square: once the squared error with the default saliency, the squared weight.
"""

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.scheme import as_matrix

CANDIDATES = 32
SMALLEST, LARGEST = (
    0.25,
    1.42,
)  # candidates for the scale, as parts of the one that just reaches the largest weight
REFINEMENTS = 3


def as_units(weight: Tensor, per_row: bool) -> Tensor:
    """What shares a scale: rows of the matrix, or the one row of all weights, in double precision."""
    return (as_matrix(weight) if per_row else weight.reshape(1, -1)).double()


def importance_of(weight: Tensor, saliency: Tensor | None) -> Tensor:
    """What a squared error costs, relative to the default (and just that where all saliencies are 0), float64.

    Raises SpokeshaveError for negative saliencies, which rank weights but give an error no price.
    """
    if saliency is None or not saliency.any():
        return torch.ones_like(weight, dtype=torch.float64)
    if saliency.min() < 0:
        raise SpokeshaveError(
            "levels are fitted to what an error costs, and a saliency below 0 costs nothing: square it first"
        )
    squared = weight.detach().square().double()
    return torch.where(squared > 0, saliency.double() / squared, 0)


def nearest(units: Tensor, scales: Tensor, table: Tensor) -> Tensor:
    """Numbers of the levels of `table` (ascending) nearest to `units / scale`, `[units, n]`."""
    divided = units / torch.where(scales > 0, scales, 1)[:, None]
    return torch.bucketize(divided.contiguous(), (table[1:] + table[:-1]) / 2)


def fit_scales(units: Tensor, importance: Tensor, table: Tensor, digits: int, grain: float) -> Tensor:
    """The scale of each unit, `[units]`: the best of a grid, then least squares given the levels, in turn.

    Scales have `digits` binary digits and are multiples of `grain`, so that all products with levels are exact.
    """

    def rounded(scales: Tensor) -> Tensor:
        return _rounded(scales, digits, grain)

    reach = units.abs().amax(1) / table.abs().max()
    factors = (
        torch.logspace(0, 1, CANDIDATES, LARGEST / SMALLEST, dtype=units.dtype, device=units.device)
        * SMALLEST
    )
    best = rounded(reach)
    error = _error(units, importance, best, table)
    for candidate in (rounded(reach * factor) for factor in factors):
        best, error = _better(units, importance, table, best, error, candidate)
    for _ in range(REFINEMENTS):
        levels = table[nearest(units, best, table)]
        squared = (importance * levels.square()).sum(1)
        fitted = (importance * levels * units).sum(1) / torch.where(squared > 0, squared, 1)
        candidate = rounded(torch.where(fitted > 0, fitted, best))
        best, error = _better(units, importance, table, best, error, candidate)
    return best


def _better(
    units: Tensor, importance: Tensor, table: Tensor, best: Tensor, error: Tensor, candidate: Tensor
) -> tuple[Tensor, Tensor]:
    other = _error(units, importance, candidate, table)
    wins = other < error
    return torch.where(wins, candidate, best), torch.where(wins, other, error)


def _error(units: Tensor, importance: Tensor, scales: Tensor, table: Tensor) -> Tensor:
    points = table[nearest(units, scales, table)] * scales[:, None]
    return (importance * (points - units).square()).sum(1)


def _rounded(scales: Tensor, digits: int, grain: float) -> Tensor:
    fraction, exponent = torch.frexp(scales)
    found = torch.ldexp((fraction * 2**digits).round() / 2**digits, exponent)
    return torch.where(found < grain * 2**digits, (found / grain).round() * grain, found)


def digits_of(dtype: torch.dtype) -> int:
    """Binary digits of a floating-point type, 40 at most: all that is reckoned with here.

    >>> [digits_of(dtype) for dtype in (torch.float32, torch.bfloat16, torch.float64)]
    [24, 8, 40]
    """
    return min(40, 1 - round(torch.tensor(torch.finfo(dtype).eps).log2().item()))


def grain_of(dtype: torch.dtype, table: Tensor) -> float:
    """What scales must be multiples of: near 0, where numbers have fewer digits, products would not be exact.

    >>> grain_of(torch.float16, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])) == 2 * 2.0**-24
    True
    """
    numbers, least = torch.finfo(dtype), float(table[table > 0].min())
    return numbers.smallest_normal * numbers.eps / least


def common_measure(units: Tensor) -> tuple[Tensor, Tensor]:
    """The largest number of which all entries of a unit are whole multiples, and the multiples.

    `[units]` and `[units, n]`, exact; both 0 for a unit of zeros. Where entries differ by more than 12 binary orders
    and the multiples would not be exact, they come out too large to be any level's number.
    """
    exponent = torch.frexp(units.abs().amax(1)).exponent
    whole = torch.ldexp(units, (52 - exponent)[:, None])
    integers = whole.round().long()
    measure = _greatest_common_divisor(integers)
    multiples = integers // torch.where(measure > 0, measure, 1)[:, None]
    multiples = torch.where((whole == integers).all(1, keepdim=True), multiples, 1 << 40)
    return torch.ldexp(measure.double(), exponent - 52), multiples


def _greatest_common_divisor(integers: Tensor) -> Tensor:
    while integers.shape[1] > 1:
        half = (integers.shape[1] + 1) // 2
        second = torch.nn.functional.pad(integers[:, half:], (0, 2 * half - integers.shape[1]))
        integers = torch.gcd(integers[:, :half], second)
    return integers[:, 0].abs()
