"""A device that exists as figures only: a roofline of arithmetic and memory, and a launch cost each layer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

from torch import Tensor

from spokeshave.compiler.isa import instruction_sets
from spokeshave.deployment import Cost
from spokeshave.devices.assignment import assign, check_memory, check_scheme, packed_size, usable_schemes
from spokeshave.devices.code_elsewhere import CodeElsewhere, code_elsewhere
from spokeshave.devices.device import Device, check_asked
from spokeshave.devices.device_file import DeviceFile
from spokeshave.devices.figure import Bounds, Fact, Figure, described
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.registry import SCHEMES
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload, trace

DENSE = "dense"
BOUNDS = {
    "peak": Bounds("flop/s"),
    "bandwidth": Bounds("byte/s"),
    "cache": Bounds("byte"),
    "launch": Bounds("s"),
    "value_size": Bounds("byte", least=1, most=16, whole=True),
    "memory": Bounds("byte", least=1),
    "power": Bounds("W"),
    "integer_speed": Bounds(most=1000),
    "efficiency": Bounds(most=1),
}
OPTIONAL = ("memory", "power", "integer_speed")
CODE = "code"
FLOAT_BYTES = 4  # of a weight as it is packed here
MOST_BITS = 8  # of weights that are multiplied as integers


@dataclass(frozen=True)
class RooflineDevice:
    """Costs by roofline: `launch + max(flop / (efficiency * peak), bytes / bandwidth)` for each layer.

    Two flop a multiply-add; bytes are the packed weights with their indices, and the layer's inputs and outputs
    when these do not fit `cache` together. `efficiency` goes by scheme name, `dense` included. Energy is power times
    latency. `code`: the instruction set that code is written for. It computes in floating point, and so do costs:
    `FixedPoint` weights are smaller there, and no faster. `with_integers` is the same device as it could be.
    """

    name: str
    about: str
    peak: Figure
    bandwidth: Figure
    cache: Figure
    launch: Figure
    value_size: Figure
    efficiency: Mapping[str, Figure]
    memory: Figure | None = None
    power: Figure | None = None
    integer_speed: Figure | None = None
    code: Fact | None = None
    integers: bool = False
    file: str = ""
    kind: Literal["modelled"] = "modelled"

    @property
    def deployment(self) -> str:
        """Plain C, where it has a CPU that code is written for."""
        return "" if self.code is None else f"plain C for its CPU ({self.code.value}, float32)"

    def describe(self) -> str:
        """Every figure with its unit, status and source."""
        code = {} if self.code is None else {CODE: self.code}
        return described(self.name, self.about, {**self.figures(), **code}, (), self.file)

    def figures(self) -> dict[str, Figure]:
        """All figures by name."""
        names = ("peak", "bandwidth", "cache", "launch", "value_size")
        single = {name.replace("_", " "): getattr(self, name) for name in names}
        optional = {name.replace("_", " "): getattr(self, name) for name in OPTIONAL}
        known = {name: figure for name, figure in optional.items() if figure is not None}
        return (
            single | known | {f"efficiency, {scheme}": figure for scheme, figure in self.efficiency.items()}
        )

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None when there is an efficiency for the scheme, and for integers where it has a speed for them."""
        check_asked(scheme, layer)
        unknown = [name for part in parts_of(scheme) if (name := self._lacking(part)) is not None]
        if not unknown:
            return None
        known = [*self.efficiency, *(["fixed_point up to 8 bits"] if self.integer_speed else [])]
        return f"{self.name} has no efficiency for {unknown[0]}; it has some for {', '.join(known)}"

    def _lacking(self, part: Scheme) -> str | None:
        """The name of a scheme, one that holds no others, that there is no figure for."""
        if self.integer_speed is not None and isinstance(part, FixedPoint):
            return None if part.bits <= MOST_BITS else f"fixed_point of {part.bits} bits"
        return None if scheme_name(part) in self.efficiency else scheme_name(part)

    def with_integers(self) -> "RooflineDevice":
        """The device with code that multiplies `FixedPoint` weights of up to eight bits as integers: costs alone.

        Such layers compute `integer_speed` times as fast, with activations of a byte. Nobody wrote that code.
        """
        return replace(self, name=f"{self.name}, integers", code=None, integers=True)

    def cost(self, workload: Workload, plan: Plan | None = None) -> Cost:
        """Modelled latency, energy and weight bytes of one sample; steps without matrices cost nothing.

        Raises SpokeshaveError for weights larger than the memory.
        """
        schemes = usable_schemes(self, workload, plan)
        pairs = [(layer, schemes.get(layer.parameter or "")) for layer in workload.layers]
        weight_bytes = sum(workload.once([self._weight_bytes(layer, scheme) for layer, scheme in pairs]))
        if self.memory is not None:
            check_memory(self.name, weight_bytes, self.memory.value)
        by_layer = tuple((layer.name, self.seconds(layer, scheme)) for layer, scheme in pairs)
        latency = sum(seconds for _, seconds in by_layer)
        levels = any(_whole(scheme) for _, scheme in pairs)
        told = f", in {'integers' if self.integers else 'floating point'}" if levels else ""
        return Cost(
            kind="modelled",
            source=f"roofline of {self.name} ({self.file}){told}",
            latency_seconds=latency,
            energy_joules=None if self.power is None else self.power.value * latency,
            weight_bytes=round(weight_bytes),
            by_layer=by_layer,
        )

    def seconds(self, layer: Layer, scheme: Scheme | None) -> float:
        """Modelled seconds of one layer; raises SpokeshaveError without an efficiency for its scheme."""
        check_scheme(self, layer, scheme)
        computing = self.operations(layer, scheme) / self.rate(scheme)
        return self.launch.value + max(computing, self.moved_bytes(layer, scheme) / self.bandwidth.value)

    def operations(self, layer: Layer, scheme: Scheme | None) -> float:
        """Flop of one sample, of the weights that are left: two a multiply-add."""
        return 2 * layer.multiply_adds * _density(layer, scheme)

    def rate(self, scheme: Scheme | None) -> float:
        """Flop (or integer operations) a second of layers under a scheme."""
        names = [scheme_name(part) for part in parts_of(scheme) if not isinstance(part, FixedPoint)] or [
            DENSE
        ]
        efficiency = min(self.efficiency[name].value for name in names)
        return efficiency * self.peak.value * (self._integer_speed if self._in_integers(scheme) else 1.0)

    def moved_bytes(self, layer: Layer, scheme: Scheme | None) -> float:
        """Bytes between memory and processor: weights, and activations that do not stay in the cache."""
        return self._weight_bytes(layer, scheme) + self._activation_bytes(layer, scheme)

    @property
    def _integer_speed(self) -> float:
        return 1.0 if self.integer_speed is None else self.integer_speed.value

    def _in_integers(self, scheme: Scheme | None) -> bool:
        return _whole(scheme) and self.integers

    def deploy(
        self,
        network: Any,
        example: Tensor | tuple[Tensor, ...],
        plan: Plan | None = None,
        calibration: Iterable[Any] | None = None,
    ) -> CodeElsewhere:
        """The network as plain C for the device's CPU, called here by this CPU; needs no calibration.

        It computes in float32, with `FixedPoint` weights too. Raises SpokeshaveError for devices without `code`: there
        is nothing to run a network with.
        """
        if self.code is not None:
            cost = self.cost(trace(network, example), plan)
            return code_elsewhere(network, example, plan, str(self.code.value), cost)
        raise SpokeshaveError(
            f"{self.name} is a cost model, which cannot run networks; "
            f"deploy on host, or ask {self.name} for costs only"
        )

    def _activation_bytes(self, layer: Layer, scheme: Scheme | None) -> float:
        """Bytes of inputs and outputs that reach the memory."""
        each = 1.0 if self._in_integers(scheme) else self.value_size.value
        size = (_elements_read(layer) + layer.rows * layer.positions) * each
        return size if size > self.cache.value else 0.0

    def _weight_bytes(self, layer: Layer, scheme: Scheme | None) -> float:
        if scheme is None:
            return layer.weight_count * self.value_size.value
        kept, index_bytes = packed_size(layer.weight_shape, scheme)
        return kept * (FLOAT_BYTES if _whole(scheme) else self.value_size.value) + index_bytes


def ways(device: Device, workload: Workload, plan: Plan | None) -> tuple[Device, ...]:
    """A device, and where a plan has layers for integer instructions, which no code uses, the same with these.

    A device whose integers are no faster has none worth a cost of their own.
    """
    if not isinstance(device, RooflineDevice) or device._integer_speed == 1:
        return (device,)
    levels = any(_whole(scheme) for scheme in assign(workload, plan).values())
    return (device, device.with_integers()) if levels else (device,)


def read_roofline(file: DeviceFile) -> RooflineDevice:
    """Read a device of this family.

    Its file has the tables `peak`, `bandwidth`, `cache`, `launch`, `value_size`, `efficiency.<scheme>`
    (`efficiency.dense` among them) and, where they are known, `memory`, `power`, `integer_speed` and `code`.
    """
    file.check_tables([*BOUNDS, CODE], [key for key in BOUNDS if key not in OPTIONAL])
    return RooflineDevice(
        name=file.name,
        about=file.about,
        peak=_figure(file, "peak"),
        bandwidth=_figure(file, "bandwidth"),
        cache=_figure(file, "cache"),
        launch=_figure(file, "launch"),
        value_size=_figure(file, "value_size"),
        efficiency=_efficiency(file),
        memory=_optional(file, "memory"),
        power=_optional(file, "power"),
        integer_speed=_optional(file, "integer_speed"),
        code=file.fact((CODE,), tuple(instruction_sets())) if CODE in file.document else None,
        file=file.path.name,
    )


def _figure(file: DeviceFile, key: str) -> Figure:
    return file.figure((key,), BOUNDS[key])


def _optional(file: DeviceFile, key: str) -> Figure | None:
    return _figure(file, key) if key in file.document else None


def _efficiency(file: DeviceFile) -> dict[str, Figure]:
    table = file.table(("efficiency",))
    file.check_keys(("efficiency",), table, [DENSE, *SCHEMES], [DENSE])
    return {name: file.figure(("efficiency", name), BOUNDS["efficiency"]) for name in table}


def scheme_name(scheme: Scheme) -> str:
    """The name of a scheme in plans, or its type's name where it is not registered."""
    return next((name for name, kind in SCHEMES.items() if type(scheme) is kind), type(scheme).__name__)


def parts_of(scheme: Scheme | None) -> tuple[Scheme, ...]:
    """The schemes that one is made of."""
    return scheme.parts if isinstance(scheme, Intersection) else () if scheme is None else (scheme,)


def _whole(scheme: Scheme | None) -> bool:
    """Whether a layer computes with whole numbers."""
    return any(isinstance(part, FixedPoint) for part in parts_of(scheme))


def _density(layer: Layer, scheme: Scheme | None) -> float:
    """The share of weights that is computed with: zeros among the levels of a quantizer are."""
    if all(isinstance(part, FixedPoint) for part in parts_of(scheme)):
        return 1.0
    assert scheme is not None
    return packed_size(layer.weight_shape, scheme)[0] / layer.weight_count


def _elements_read(layer: Layer) -> int:
    """Numbers that a layer reads besides its weights; a product of two activations reads both."""
    second = layer.rows * layer.columns if not layer.weight_shape else 0
    return prod(layer.input_shape) + second
