"""How much each layer keeps so that all lose equally much by the next step: LPViT's allocator."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from spokeshave.allocation.curves import (
    ascending,
    derivative,
    distortions,
    second_order_change,
    smoothed,
)
from spokeshave.allocation.output_error import OutputError
from spokeshave.allocation.search import Slopes, settle
from spokeshave.allocation.weights import allocated_weights, check_arguments, check_settings, plan_of
from spokeshave.allocation.work import Power, Work, work_of
from spokeshave.criteria.criterion import Batches, required
from spokeshave.criteria.gradients import Taylor, mean_gradients, refuse_flat, squared_outputs
from spokeshave.errors import SpokeshaveError, check_kind, naming
from spokeshave.plan import Plan
from spokeshave.schemes.checks import (
    check_choice,
    check_count,
    check_flag,
    check_function,
    check_least,
    check_passes,
    is_number,
)
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, trace

OWNER = "equal slope"
HUNDREDTHS = tuple(step / 100 for step in range(100, -1, -1))


@dataclass(frozen=True)
class EqualSlope:
    """Shares at which every layer's distortion has the same slope (LPViT, arXiv 2407.02068, section 3).

    `remaining`: what is left of the network's multiply-adds, or of its cost where one is given; met to `tolerance`
    times as much where the schemes' units allow that. `shares`: those that curves are made for, evenly spaced from 1
    down. `smoothing`: weight of the past in the moving average; `half_width` of the derivative's stencil in points.
    `floor`: the least share of a layer, but never above half of `remaining`.
    `ranking`: what schemes keep, by "taylor" `(w g)^2` or "magnitude"; the plan must be carried out with the same.
    `distortion`: "taylor", the paper's closed form, cheap and blind to what the mean gradient does not see, or
    "measured", the mean squared change of the outputs: a run over the batches for each share of each layer.
    `slopes`: of "work" per multiply-add, which minimises the sum of distortions for a given amount of work, or of
    "share", as the authors' code has it. `convex`: slopes that fall are levelled, so that no search gets stuck.
    `power(layer, share)` adds a power term (see `block_power`), `power_weight` (the paper's beta) times as steep as the
    distortion on average; `power_of` is "surviving", which prunes hungry layers more, or "removed", the sign of the
    authors' code, which spares them.
    """

    remaining: float = 0.5
    shares: Sequence[float] = HUNDREDTHS
    smoothing: float = 0.5
    half_width: int = 4
    floor: float = 0.05
    tolerance: float = 0.01
    ranking: str = "taylor"
    distortion: str = "taylor"
    slopes: str = "work"
    convex: bool = True
    power: Power | None = None
    power_weight: float = 1.0
    power_of: str = "surviving"
    dense: Sequence[str] = ()
    passes: int | None = None

    def __post_init__(self) -> None:
        for field in ("remaining", "smoothing", "floor"):
            value, most = getattr(self, field), 1 if field == "remaining" else 0.999
            if not is_number(value) or not 0 <= value <= most:
                raise SpokeshaveError(f"{OWNER}: {field} must be a fraction, not {value!r}")
        check_count(OWNER, "half_width", self.half_width)
        check_least(OWNER, "tolerance", self.tolerance, 0)
        check_least(OWNER, "power_weight", self.power_weight, 0)
        check_passes(OWNER, self.passes)
        check_choice(OWNER, "ranking", self.ranking, ("taylor", "magnitude"))
        check_choice(OWNER, "distortion", self.distortion, ("taylor", "measured"))
        check_choice(OWNER, "slopes", self.slopes, ("work", "share"))
        check_choice(OWNER, "power_of", self.power_of, ("surviving", "removed"))
        check_flag(OWNER, "convex", self.convex)
        check_settings(OWNER, self.dense)
        if self.power is not None:
            check_function(OWNER, "power", self.power)
        if not isinstance(self.shares, list | tuple) or not all(map(is_number, self.shares)):
            raise SpokeshaveError(f"{OWNER}: shares must be numbers, not {self.shares!r}")
        steps = [larger - smaller for larger, smaller in pairwise(self.shares)]
        even = len(steps) > 1 and 0 < min(steps) >= max(steps) - 1e-9
        if not even or self.shares[0] != 1 or self.shares[-1] < 0:
            raise SpokeshaveError(
                f"{OWNER}: shares must go down from 1 in three even steps or more, not below 0"
            )


@dataclass(frozen=True)
class Curve:
    """One layer by the share that remains: `distortion`, `power` (scaled) and the `slope` of both, all `[shares]`.

    `shares` are those that its scheme can keep: as far as the method's go, or fewer; `kept`, what it then does keep.
    """

    shares: tuple[float, ...]
    kept: Tensor
    distortion: Tensor
    power: Tensor
    slope: Tensor


@dataclass(frozen=True)
class SlopeAllocation:
    """By parameter: `shares`, what is to remain, and `kept`, what the scheme keeps then, rounded to its units.

    `remaining`: what is left of the whole by what is kept, or of the cost.
    """

    plan: Plan
    shares: dict[str, float]
    kept: dict[str, float]
    remaining: float
    curves: dict[str, Curve]


def allocate_equal_slope(
    method: EqualSlope,
    network: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    batches: Batches,
    scheme: Callable[[float], Scheme | None],
    cost: Callable[[Plan], float] | None = None,
    curves: Mapping[str, Curve] | None = None,
) -> SlopeAllocation:
    """Share out multiply-adds, or `cost(plan)`, over a network's layers; labels in `batches` are not looked at.

    `scheme` makes a layer's scheme of the share of its work that remains: `lambda share: Unstructured(1 - share)`, or
    `lambda share: FixedPoint(round(8 * share))` with shares in eighths; a layer whose scheme cannot keep as little, and
    says so, stays above. `cost` may measure, as
    `lambda plan: device.cost(workload, plan).latency_seconds` does; it is called a few dozen times. `curves` are
    those of an earlier allocation that differed in `remaining`, `floor` and `tolerance` alone: their work is saved.
    Raises SpokeshaveError for a target out of reach, saying the nearest, and for curves of other weights or shares.
    """
    check_arguments(method, EqualSlope, scheme)
    if cost is not None:
        check_function(OWNER, "cost", cost)
    if curves is None and iter(required(batches, method)) is batches:
        raise SpokeshaveError(
            f"{OWNER} goes through the batches more than once: give a list or a loader, no iterator"
        )
    weights = allocated_weights(network, method.dense)
    work = work_of(trace(network, example), weights)
    if curves is None:
        curves = _curves(method, _lost(method, network, weights, batches, scheme), work)
    _check_curves(curves, weights, method)

    def plan_at(shares: Mapping[str, float]) -> Plan:
        return plan_of(network, {name: scheme(share) for name, share in shares.items()})

    def kept_at(shares: Mapping[str, float]) -> dict[str, float]:
        return {
            name: float(curves[name].kept[curves[name].shares.index(share)]) for name, share in shares.items()
        }

    def left(shares: Mapping[str, float]) -> float:
        return work.left(kept_at(shares)) if cost is None else _cost(cost, plan_at(shares)) / whole

    whole = 1.0 if cost is None else _whole_cost(_cost(cost, plan_at(dict.fromkeys(weights, 1.0))))
    slopes = _slopes([curves[name].slope for name in weights], tuple(weights), method)
    shares, remaining = settle(slopes, left, method.remaining, method.tolerance * method.remaining)
    return SlopeAllocation(plan_at(shares), shares, kept_at(shares), remaining, dict(curves))


def _slopes(curves: Sequence[Tensor], names: tuple[str, ...], method: EqualSlope) -> Slopes:
    """Curves that end where a layer's scheme does, side by side; beyond its floor no layer may go either."""
    least = min(method.floor, method.remaining / 2)
    allowed = sum(share >= least - 1e-9 and share > 0 for share in method.shares)
    last = torch.tensor([min(len(curve), allowed) - 1 for curve in curves])
    beyond = float("inf")
    return Slopes(
        names, pad_sequence(list(curves), batch_first=True, padding_value=beyond), tuple(method.shares), last
    )


def _check_curves(curves: Mapping[str, Curve], weights: Mapping[str, Tensor], method: EqualSlope) -> None:
    shares = tuple(method.shares)
    check_kind(f"{OWNER}: curves", curves, Mapping, "those of an earlier allocation, by weight")
    for name, curve in curves.items():
        check_kind(f"{OWNER}: the curve of {name}", curve, Curve, "one of an earlier allocation")
    if set(curves) != set(weights) or any(
        curve.shares != shares[: len(curve.shares)] for curve in curves.values()
    ):
        raise SpokeshaveError(
            f"{OWNER}: curves are of {len(curves)} weights or at shares that are not those of this method, "
            f"which are {len(weights)} weights at {len(shares)} shares"
        )


def _cost(cost: Callable[[Plan], float], plan: Plan) -> float:
    found = cost(plan)
    check_least(OWNER, "what cost gives", found, 0)
    return float(found)


def _whole_cost(cost: float) -> float:
    if cost == 0:
        raise SpokeshaveError(f"the cost of the whole network must be a number above 0, not {cost}")
    return cost


def _lost(
    method: EqualSlope,
    network: nn.Module,
    weights: Mapping[str, Tensor],
    batches: Batches,
    scheme: Callable[[float], Scheme | None],
) -> dict[str, tuple[Tensor, Tensor]]:
    """The distortion of each layer at each share, and what is kept."""
    measured = OutputError.of(network, batches, method.passes) if method.distortion == "measured" else None
    gradients = mean_gradients(Taylor(method.passes, squared_outputs), network, weights, batches)
    if "taylor" in (method.distortion, method.ranking):
        refuse_flat(method, {name: bool(gradient.any()) for name, gradient in gradients.items()})

    def losing(name: str, weight: Tensor) -> Callable[[Tensor], float]:
        if measured is not None:
            return partial(measured.with_weight, name)
        return lambda point: second_order_change(point - weight, gradients[name])

    found = {}
    for name, weight in weights.items():
        saliency = _saliency(method, weight, gradients[name])
        with naming(name):
            found[name] = distortions(weight, saliency, method.shares, scheme, losing(name, weight))
    return found


def _curves(method: EqualSlope, found: Mapping[str, tuple[Tensor, Tensor]], work: Work) -> dict[str, Curve]:
    step = method.shares[0] - method.shares[1]

    def slope(curve: Tensor) -> Tensor:
        return derivative(curve, step, method.half_width)

    lost = {name: losses for name, (losses, _) in found.items()}
    losing = {name: slope(smoothed(curve, method.smoothing)) for name, curve in lost.items()}
    power = {name: _power(method, layer)[: len(lost[name])] for name, layer in work.layers.items()}
    saving = {name: slope(curve) for name, curve in power.items()}
    scale = method.power_weight * _scale(losing, saving)
    curves = {}
    for name in lost:
        slopes = losing[name] + scale * saving[name]
        slopes = slopes / work.parts[name] if method.slopes == "work" else slopes
        slopes = ascending(slopes) if method.convex else slopes
        shares = tuple(method.shares[: len(slopes)])
        curves[name] = Curve(shares, found[name][1], lost[name], scale * power[name], slopes)
    return curves


def _saliency(method: EqualSlope, weight: Tensor, gradient: Tensor) -> Tensor | None:
    """First-order Taylor, scaled so that no square underflows."""
    if method.ranking == "magnitude":
        return None
    parts = weight * gradient
    largest = parts.abs().amax()
    return (parts / largest).square() if largest > 0 else None


def _power(method: EqualSlope, layer: Layer) -> Tensor:
    if method.power is None:
        return torch.zeros(len(method.shares), dtype=torch.float64)
    surviving = method.power_of == "surviving"
    values = [method.power(layer, share if surviving else 1 - share) for share in method.shares]
    for value in values:
        check_least(OWNER, "what power gives", value, 0)
    return torch.tensor(values, dtype=torch.float64)


def _scale(losing: Mapping[str, Tensor], saving: Mapping[str, Tensor]) -> float:
    """What brings both terms' steepest slopes, averaged over layers, to one size."""
    steepest = [sum(float(curve.abs().max()) for curve in term.values()) for term in (losing, saving)]
    return steepest[0] / steepest[1] if steepest[1] > 0 else 0.0
