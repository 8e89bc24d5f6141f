"""How many bits each layer's weights get, from the weights alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log2, sqrt

from torch import Tensor, nn

from spokeshave.allocation.thresholds import bracket
from spokeshave.allocation.weights import (
    Sensitivity,
    allocated_weights,
    check_arguments,
    check_settings,
    plan_of,
    sensitivities,
)
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_above, check_choice, check_count, check_flag
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.scheme import Scheme, as_matrix

OWNER = "equal step"
SHARED, NORMALISED = "shared", "normalised"
ROUNDING = 1e-9  # a range of exactly 2^b - 1 steps needs b bits


@dataclass(frozen=True)
class EqualStep:
    """One quantization step for the whole network, at which rounding changes the weights least (OPQ, arXiv 2205.11141).

    `bits`: mean over the weights that are not zero (prune first; zeros are not counted). A weight's rate is
    `log2(range / step + 1)`, rounded up to `whole` bits, as an index without entropy coding is stored, or with its
    fractions. Whole bits come as near to the budget from below as one step allows. `codebook` is how the paper's
    "unified channel-wise quantization" is read: "normalised", channels scaled to one range first; or "shared", one
    codebook `{k * step}` for all channels of a layer, of which each channel is counted with what it needs: a scheme
    that numbers the whole codebook for every weight, as `FixedPoint` does, stores more than the budget.
    `least` and `most` bound the bits of a weight. `sensitivity` as in `GlobalThreshold`: steps are divided by its root.
    """

    bits: float
    codebook: str = NORMALISED
    whole: bool = True
    least: int = 2
    most: int = 12
    dense: Sequence[str] = ()
    sensitivity: Sensitivity | None = None

    def __post_init__(self) -> None:
        check_choice(OWNER, "codebook", self.codebook, (SHARED, NORMALISED))
        check_flag(OWNER, "whole", self.whole)
        check_count(OWNER, "least", self.least)
        check_count(OWNER, "most", self.most)
        check_above(OWNER, "bits", self.bits)
        check_settings(OWNER, self.dense, self.sensitivity)
        if self.least > self.most:
            raise SpokeshaveError(f"{OWNER}: least {self.least} must be from 1 to most, {self.most}")
        if not self.least <= self.bits <= self.most:
            bounds = f"from least, {self.least}, to most, {self.most}"
            raise SpokeshaveError(f"{OWNER}: bits must be a number {bounds}, not {self.bits}")


@dataclass(frozen=True)
class BitAllocation:
    """By parameter: the `steps`, the mean `rates` in bits a weight, and the whole `bits` of the layer's codebook.

    A layer of zeros has step and rate 0. Of a normalised codebook a channel's step is the layer's times the channel's
    largest weight over their root mean square. `mean_rate`: over all weights that are not zero.
    """

    plan: Plan
    steps: dict[str, float]
    rates: dict[str, float]
    bits: dict[str, int]
    mean_rate: float


def fixed_point(method: EqualStep) -> Callable[[int], Scheme]:
    """What the codebook means as a scheme: one scale for the tensor, or one a row."""
    per_row = method.codebook == NORMALISED
    return lambda bits: FixedPoint(bits, "row" if per_row else "tensor")


def allocate_bits(
    method: EqualStep, network: nn.Module, scheme: Callable[[int], Scheme | None] | None = None
) -> BitAllocation:
    """Share out bits over a network's layers; `scheme` makes a layer's scheme of its whole bits.

    Raises SpokeshaveError when the bounds leave the budget out of reach.

    >>> network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> allocate_bits(EqualStep(4.0), network).bits
    {'0.weight': 4, '2.weight': 4}
    >>> round(allocate_bits(EqualStep(4.0, whole=False), network).mean_rate, 2)
    4.0
    """
    check_arguments(method, EqualStep, fixed_point if scheme is None else scheme)
    make = fixed_point(method) if scheme is None else scheme
    weights = allocated_weights(network, method.dense)
    costs = sensitivities(method.sensitivity, weights)
    layers = {name: _spans(method, weight, costs[name]) for name, weight in weights.items()}
    count = sum(float(spans.counts.sum()) for spans in layers.values())

    def mean_rate(fineness: float) -> float:
        return sum(float(spans.rates(method, fineness) @ spans.counts) for spans in layers.values()) / count

    fineness, _ = bracket(lambda fineness: mean_rate(fineness) > method.bits)
    bits = {name: spans.whole_bits(method, fineness) for name, spans in layers.items()}
    return BitAllocation(
        plan=plan_of(network, {name: make(number) for name, number in bits.items()}),
        steps={name: spans.step(method, fineness) for name, spans in layers.items()},
        rates={name: spans.mean_rate(method, fineness) for name, spans in layers.items()},
        bits=bits,
        mean_rate=mean_rate(fineness),
    )


@dataclass(frozen=True)
class _Spans:
    """What shares a range in a layer: weights that are not zero `[units]`, and `2 max |w|` of them `[units]`.

    Ranges are in units of the layer's own step at step 1 of the network, so that `range * fineness` counts steps.
    """

    counts: Tensor
    ranges: Tensor
    unit: float

    def rates(self, method: EqualStep, fineness: float) -> Tensor:
        """Bits of a weight of each unit, the network's step being 1 / fineness."""
        rates = (self.ranges * fineness + 1).log2()
        rates = (rates - ROUNDING).ceil() if method.whole else rates
        return rates.clamp(method.least, method.most)

    def mean_rate(self, method: EqualStep, fineness: float) -> float:
        """Mean bits over the layer's weights that are not zero."""
        count = float(self.counts.sum())
        return float(self.rates(method, fineness) @ self.counts) / count if count else 0.0

    def whole_bits(self, method: EqualStep, fineness: float) -> int:
        """Bits that number all levels of the layer's codebook."""
        return ceil(float(self.rates(method, fineness).max()) - ROUNDING)

    def step(self, method: EqualStep, fineness: float) -> float:
        """The layer's step; where its bits are at a bound, the one that they give its whole range."""
        largest = float(self.ranges.max())
        within = 2 ** float(self.rates(method, fineness).max()) - 1
        bound = largest / within
        free = method.least < log2(largest * fineness + 1) < method.most
        return self.unit * (1 / fineness if free else bound)


def _spans(method: EqualStep, weight: Tensor, sensitivity: float) -> _Spans:
    matrix = as_matrix(weight).double()
    counts, largest = (matrix != 0).sum(1).double(), matrix.abs().amax(1)
    if method.codebook == NORMALISED:
        # A channel's step is the layer's times its scale: the sum of squared errors is that of the scales' mean square.
        total = counts.sum()
        largest = ((counts @ largest.square()) / total.clamp(min=1)).sqrt()[None]
        counts = total[None]
    return _Spans(counts, 2 * largest * sqrt(sensitivity), 1 / sqrt(sensitivity))
