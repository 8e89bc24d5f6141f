"""Activations that end in 8 bits as curves: a parabola in each of 32 segments, in whole numbers of 16 bits.

    place = round(x * scale + offset)                   from -2^15 to 2^15 - 1, the ends standing for all beyond
    level = (c0 + (c1 + c2 * u) * u) >> FRACTION        u: how far the place is in its segment, as a share

The segment, a place's upper five bits, says which coefficients. Activation and requantization cost a third of what they
do in float32: twice as many lanes, and no clamp, since the ends are where the output's lowest or highest level is
reached or nothing changes any more. `kernels/curves.h` computes the same numbers.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.operations import Activation, Quantization
from spokeshave.compiler.quantization.arithmetic import Requantization

CURVED = ("gelu", "gelu_tanh", "silu", "sigmoid", "tanh")  # what costs more than a look at the table
SEGMENTS, WITHIN = 32, 11  # bits of a place within its segment
FRACTION = 7  # bits of a level behind the point
LOWEST, HIGHEST = 0, 255  # levels
BELOW, ABOVE = 64.0, 0.4  # how far beyond these a curve goes; above, what rounds to 255 and 16 bits hold
UNCHANGED = 1 / 64  # of a level
TOLERANCE = 1 / 8  # of a level, which is off by half a level anyway
FARTHEST, SAMPLES = 16.0, 1 << 18  # where the ends of a curve are looked for
BEYOND = 1e9  # stands for all that lies beyond the ends


@dataclass(frozen=True, eq=False)
class Curve:
    """`table`: int16 coefficients, `[3, SEGMENTS]`, the constant ones first, with half a level for the rounding."""

    scale: float
    offset: float
    table: np.ndarray

    def requantization(self, after: Requantization) -> Requantization:
        """What follows the sums of a layer when they are to be places on the curve."""
        scale, shift = after.scale.double() * self.scale, after.shift.double() * self.scale + self.offset
        return replace(after, scale=scale.float(), shift=shift.float(), activation=None)

    def holds(self, after: Requantization, sums: Tensor) -> bool:
        """Whether sums up to these, row by row, give places that int32 holds before they are clamped."""
        places = self.requantization(after)
        return bool((sums * places.scale + places.shift.abs()).max() < 2**31)

    def levels(self, places: np.ndarray) -> np.ndarray:
        """What kernels make of whole places, before they clamp to 8 bits."""
        return self._slopes_and_sums(places)[1] >> FRACTION

    def error(self, activation: Activation, output: Quantization) -> float:
        """The largest error in levels, before these are rounded, over all places, each from edge to edge, and beyond
        the ends; infinite where 16 bits overflow on the way.
        """
        places = np.arange(-(2**15), 2**15)
        slopes, sums = self._slopes_and_sums(places)
        if max(np.abs(slopes).max(), np.abs(sums).max()) >= 2**15:
            return np.inf
        found = (sums - 2 ** (FRACTION - 1)) / 2**FRACTION
        edges = (places[:, None] + np.array([-0.5, 0.5]) - self.offset) / self.scale
        edges[0, 0], edges[-1, 1] = -BEYOND, BEYOND
        exact = _levels(edges, activation, output)
        return np.abs(found.clip(LOWEST - ABOVE)[:, None] - exact.clip(LOWEST - ABOVE)).max()

    def _slopes_and_sums(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        within = (places & (2**WITHIN - 1)) << (15 - WITHIN)
        constant, slope, bend = self.table.astype(np.int64)[:, places >> WITHIN & (SEGMENTS - 1)]
        slopes = _product(bend, within) + slope
        return slopes, _product(slopes, within) + constant


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b + 2**14) >> 15


@cache
def curve_of(activation: Activation | None, output: Quantization) -> Curve | None:
    """The curve of an activation, None where there is none within the tolerance."""
    if activation is None or activation.kind not in CURVED or (output.low, output.high) != (LOWEST, HIGHEST):
        return None
    farthest = FARTHEST + output.scale * HIGHEST
    x = np.linspace(-farthest, farthest, SAMPLES)
    exact = _levels(x, activation, output)
    first, last = _end(x, exact), -_end(-x[::-1], exact[::-1])
    if not first < last:
        return None
    scale = (2**16 - 1) / (last - first)
    offset = -(2**15) - first * scale
    places = np.arange(-(2**15), 2**15)
    table = _fitted(_levels((places - offset) / scale, activation, output))
    if np.abs(table).max() >= 2**15:
        return None
    curve = Curve(scale, offset, table.astype(np.int16))
    return curve if curve.error(activation, output) <= TOLERANCE else None


def _levels(x: np.ndarray, activation: Activation, output: Quantization) -> np.ndarray:
    """What the activation gives, in levels, as far as a curve goes."""
    exact = activate(activation, torch.from_numpy(x)).numpy() / output.scale + output.zero_point
    return exact.clip(LOWEST - BELOW, HIGHEST + ABOVE)


def _end(x: np.ndarray, exact: np.ndarray) -> float:
    """The first sample behind which levels are no longer those of all samples before."""
    return float(x[max(int(np.argmax(np.abs(exact - exact[0]) >= UNCHANGED)) - 1, 0)])


def _fitted(levels: np.ndarray) -> np.ndarray:
    """Coefficients of all segments by least squares, in units of the last bit; those of places from 0 on come first."""
    share = np.arange(2**WITHIN) / 2**WITHIN
    fits = np.polynomial.polynomial.polyfit(share, levels.reshape(SEGMENTS, -1).T, 2) * 2**FRACTION
    fits[0] += 2 ** (FRACTION - 1)
    return np.rint(np.roll(fits, SEGMENTS // 2, axis=1))
