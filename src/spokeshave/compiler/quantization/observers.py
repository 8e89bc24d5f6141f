"""Which range of a value's numbers uint8 shall stand for: observers over streamed histograms.

A histogram has a fixed number of bins over [-reach, reach]; reach is a power of two that doubles, merging bins in
pairs, when larger numbers come. So memory is bounded, counts are exact, and the order of batches changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2

import torch
from torch import Tensor

from spokeshave.compiler.operations import Quantization
from spokeshave.compiler.quantization.arithmetic import LEVELS
from spokeshave.errors import SpokeshaveError

BINS = 8192
LEAST_REACH = 2.0**-64
KEPT_SHARE = 0.9999  # what the percentile observer keeps within its range
SHRINKS = 64  # ranges that the mean-squared-error observer tries


@dataclass(frozen=True)
class Histogram:
    """`counts`: int64 `[BINS]` over [-reach, reach]; `smallest` and `largest` are exact and enclose 0."""

    counts: Tensor
    reach: float = LEAST_REACH
    smallest: float = 0.0
    largest: float = 0.0

    def centres(self) -> Tensor:
        """Middle of each bin, float64."""
        width = 2 * self.reach / BINS
        return (torch.arange(BINS, dtype=torch.float64) + 0.5) * width - self.reach


Range = tuple[float, float]
Observer = Callable[[Histogram], Range]


def empty() -> Histogram:
    """The histogram of nothing."""
    return Histogram(torch.zeros(BINS, dtype=torch.int64))


def add(histogram: Histogram, values: Tensor) -> Histogram:
    """The histogram with more values; raises SpokeshaveError where one is infinite or not a number."""
    values = values.detach().double().flatten()
    low, high = (float(bound) for bound in torch.aminmax(values)) if len(values) else (0.0, 0.0)
    largest = max(-low, high)
    if not largest < float("inf"):
        raise SpokeshaveError("the network makes infinite values or NaN on the calibration data")
    reach = histogram.reach if largest < histogram.reach else 2.0 ** ceil(log2(largest) + 1e-9)
    reach = reach * 2 if largest >= reach else reach
    counts = widened(histogram.counts, round(log2(reach / histogram.reach)))
    bins = ((values + reach) * (BINS / (2 * reach))).long().clamp(0, BINS - 1)
    counts = counts + torch.bincount(bins, minlength=BINS)
    return Histogram(counts, reach, min(histogram.smallest, low), max(histogram.largest, high))


def widened(counts: Tensor, doublings: int) -> Tensor:
    """Counts over a reach doubled so many times: pairs of bins become one."""
    for _ in range(min(doublings, BINS.bit_length())):
        middle = counts.view(-1, 2).sum(1)
        counts = torch.zeros_like(counts)
        counts[BINS // 4 : BINS // 4 + BINS // 2] = middle
    return counts


def min_max(histogram: Histogram) -> Range:
    """Everything observed."""
    return histogram.smallest, histogram.largest


def percentile(histogram: Histogram, share: float = KEPT_SHARE) -> Range:
    """All but a share of `1 - share` of the numbers, taken off evenly at both ends."""
    below = histogram.counts.cumsum(0).double() / max(1, int(histogram.counts.sum()))
    off = (1 - share) / 2
    centres = histogram.centres()
    low = centres[min(BINS - 1, int((below <= off).sum()))]
    high = centres[min(BINS - 1, int((below < 1 - off).sum()))]
    return min(max(float(low), histogram.smallest), 0.0), max(min(float(high), histogram.largest), 0.0)


def mean_squared_error(histogram: Histogram) -> Range:
    """Of the observed range shrunk in steps the one whose quantization has the least mean squared error."""
    shrinks = torch.linspace(1.0, 0.2, SHRINKS).tolist()
    ranges = [(histogram.smallest * shrink, histogram.largest * shrink) for shrink in shrinks]
    return min(ranges, key=lambda bounds: quantization_error(histogram, quantization_of(bounds)))


def quantization_error(histogram: Histogram, quantization: Quantization) -> float:
    """Sum of squared differences between the observed numbers and what the quantization makes of them."""
    kept = histogram.counts > 0
    centres, counts = histogram.centres()[kept], histogram.counts[kept]
    levels = (centres / quantization.scale + quantization.zero_point).round()
    levels = levels.clamp(quantization.low, quantization.high)
    return float(
        (counts * ((levels - quantization.zero_point) * quantization.scale - centres).square()).sum()
    )


def quantization_of(bounds: Range, high: int = LEVELS) -> Quantization:
    """Scale and zero point for a range, widened to hold 0, of whole numbers from 0 to `high`.

    >>> quantization_of((-63.0, 192.0))
    Quantization(scale=1.0, zero_point=63, low=0, high=255)
    """
    least, most = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = (most - least) / high
    return Quantization(scale, round(-least / scale), 0, high) if scale > 0 else Quantization(1.0, 0, 0, high)


OBSERVERS: dict[str, Observer] = {
    "min_max": min_max,
    "percentile": percentile,
    "mean_squared_error": mean_squared_error,
}
