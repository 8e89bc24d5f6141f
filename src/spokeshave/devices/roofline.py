"""A device that exists as figures only: a roofline of arithmetic and memory, and a launch cost each layer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

from torch import Tensor

from spokeshave.deployment import Cost, Deployment
from spokeshave.devices.assignment import assign, packed_size
from spokeshave.devices.device_file import DeviceFile
from spokeshave.devices.figure import Figure
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.schemes.registry import SCHEMES
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload

DENSE = "dense"
UNITS = {
    "peak": "flop/s",
    "bandwidth": "byte/s",
    "cache": "byte",
    "launch": "s",
    "value_size": "byte",
    "power": "W",
    "efficiency": "1",
}
OPTIONAL = ("power",)


@dataclass(frozen=True)
class RooflineDevice:
    """Costs by roofline: `launch + max(flop / (efficiency * peak), bytes / bandwidth)` for each layer.

    Two flop a multiply-add; bytes are the packed weights with their indices, and the layer's inputs and outputs
    when these do not fit `cache` together. `efficiency` goes by scheme name, `dense` included. Energy is power
    times latency.
    """

    name: str
    about: str
    peak: Figure
    bandwidth: Figure
    cache: Figure
    launch: Figure
    value_size: Figure
    efficiency: Mapping[str, Figure]
    power: Figure | None = None
    file: str = ""
    kind: Literal["modelled"] = "modelled"

    def describe(self) -> str:
        """Every figure with its unit, status and source."""
        lines = [f"{self.name} (modelled): {self.about}"]
        lines += [f"{name}: {figure}" for name, figure in self.figures().items()]
        return "\n".join([*lines, f"from {self.file}"])

    def figures(self) -> dict[str, Figure]:
        """All figures by name."""
        names = ("peak", "bandwidth", "cache", "launch", "value_size")
        single = {name.replace("_", " "): getattr(self, name) for name in names}
        power = {} if self.power is None else {"power": self.power}
        return (
            single | power | {f"efficiency, {scheme}": figure for scheme, figure in self.efficiency.items()}
        )

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None when there is an efficiency for the scheme."""
        name = scheme_name(scheme)
        if name in self.efficiency:
            return None
        return f"{self.name} has no efficiency for {name}; it has some for {', '.join(self.efficiency)}"

    def cost(self, workload: Workload, plan: Plan | None = None) -> Cost:
        """Modelled latency, energy and weight bytes of one sample; steps without matrices cost nothing."""
        schemes = assign(workload, plan)
        pairs = [(layer, schemes.get(layer.parameter or "")) for layer in workload.layers]
        by_layer = tuple((layer.name, self.seconds(layer, scheme)) for layer, scheme in pairs)
        latency = sum(seconds for _, seconds in by_layer)
        bytes_by_weight = {layer.parameter: self._weight_bytes(layer, scheme) for layer, scheme in pairs}
        return Cost(
            kind="modelled",
            source=f"roofline of {self.name} ({self.file})",
            latency_seconds=latency,
            energy_joules=None if self.power is None else self.power.value * latency,
            weight_bytes=round(sum(bytes_by_weight.values())),
            by_layer=by_layer,
        )

    def seconds(self, layer: Layer, scheme: Scheme | None) -> float:
        """Modelled seconds of one layer; raises SpokeshaveError without an efficiency for its scheme."""
        reason = self.supports(scheme, layer) if scheme is not None else None
        if reason is not None:
            raise SpokeshaveError(f"{layer.name}: {reason}")
        efficiency = self.efficiency[DENSE if scheme is None else scheme_name(scheme)].value
        flop = 2 * layer.multiply_adds * _density(layer, scheme)
        moved = self._weight_bytes(layer, scheme) + self._activation_bytes(layer)
        return self.launch.value + max(flop / (efficiency * self.peak.value), moved / self.bandwidth.value)

    def deploy(
        self,
        network: Any,
        example: Tensor | tuple[Tensor, ...],
        plan: Plan | None = None,
        calibration: Iterable[Any] | None = None,
    ) -> Deployment:
        """Always raises SpokeshaveError: there is nothing here to run a network on."""
        raise SpokeshaveError(
            f"{self.name} is a cost model, which cannot run networks; "
            f"deploy on host, or ask {self.name} for costs only"
        )

    def _activation_bytes(self, layer: Layer) -> float:
        """Bytes of inputs and outputs that reach the memory."""
        size = (_elements_read(layer) + layer.rows * layer.positions) * self.value_size.value
        return size if size > self.cache.value else 0.0

    def _weight_bytes(self, layer: Layer, scheme: Scheme | None) -> float:
        if scheme is None:
            return layer.weight_count * self.value_size.value
        kept, index_bytes = packed_size(layer.weight_shape, scheme)
        return kept * self.value_size.value + index_bytes


def read_roofline(file: DeviceFile) -> RooflineDevice:
    """Read a device of this family.

    Its file has the tables `peak`, `bandwidth`, `cache`, `launch`, `value_size`, `efficiency.<scheme>`
    (`efficiency.dense` among them) and, if it is known, `power`.
    """
    file.check_tables(list(UNITS), [key for key in UNITS if key not in OPTIONAL])
    return RooflineDevice(
        name=file.name,
        about=file.about,
        peak=_figure(file, "peak"),
        bandwidth=_figure(file, "bandwidth"),
        cache=_figure(file, "cache"),
        launch=_figure(file, "launch"),
        value_size=_figure(file, "value_size"),
        efficiency=_efficiency(file),
        power=_figure(file, "power") if "power" in file.document else None,
        file=file.path.name,
    )


def _figure(file: DeviceFile, key: str) -> Figure:
    return file.figure((key,), UNITS[key])


def _efficiency(file: DeviceFile) -> dict[str, Figure]:
    table = file.table(("efficiency",))
    file.check_keys(("efficiency",), table, [DENSE, *SCHEMES], [DENSE])
    figures = {name: file.figure(("efficiency", name), UNITS["efficiency"]) for name in table}
    for name, figure in figures.items():
        if figure.value > 1:
            raise file.mistake(("efficiency", name, "value"), f"must be at most 1, not {figure.value}")
    return figures


def scheme_name(scheme: Scheme) -> str:
    """The name of a scheme in plans, or its type's name where it is not registered."""
    return next((name for name, kind in SCHEMES.items() if type(scheme) is kind), type(scheme).__name__)


def _density(layer: Layer, scheme: Scheme | None) -> float:
    return 1.0 if scheme is None else packed_size(layer.weight_shape, scheme)[0] / layer.weight_count


def _elements_read(layer: Layer) -> int:
    """Numbers that a layer reads besides its weights; a product of two activations reads both."""
    second = layer.rows * layer.columns if layer.parameter is None else 0
    return prod(layer.input_shape) + second
