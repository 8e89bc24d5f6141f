"""Binary networks on adiabatic superconducting crossbars: what they compute, bit by random bit, and what that costs.

joules of a sample = sum over layers of  junctions * junction energy * positions * stream
junctions of a layer = crossbars * (12 C^2 + 48 C) + outputs * (counter's gates and buffers)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from torch import Tensor

from spokeshave.deployment import Cost
from spokeshave.devices.assignment import assign, layer_told, usable_schemes
from spokeshave.devices.crossbars.aqfp_deployment import AQFPDeployment, deploy_binary
from spokeshave.devices.crossbars.clocking import counter
from spokeshave.devices.device import check_asked
from spokeshave.devices.device_file import DeviceFile
from spokeshave.devices.figure import Bounds, Figure, described, set_by_hand
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.schemes.quantizers import Binary
from spokeshave.schemes.scheme import Scheme
from spokeshave.superconducting import Columns
from spokeshave.workload import Layer, Workload, trace

BOUNDS = {
    "height": Bounds(least=1, most=4096, whole=True),
    "stream": Bounds(least=1, most=1 << 20, whole=True),
    **dict.fromkeys(("grey_zone", "cell_current"), Bounds("A")),
    "attenuation": Bounds(most=10),
    "clock": Bounds("1/s"),
    "phases": Bounds(least=1, most=1024, whole=True),
    **dict.fromkeys(
        ("cell_junctions", "line_junctions", "gate_junctions", "buffer_junctions"),
        Bounds(least=1, most=10**6, whole=True),
    ),
    "junction_energy": Bounds("J"),
    "cooling": Bounds(),
}
ELSEWHERE = "not binary: it runs elsewhere"


@dataclass(frozen=True)
class AQFPDevice:
    """Crossbars of `height` x `height` cells of signs for every layer, so that all of them work at once.

    `columns` is how they read. Layers that are not binary run elsewhere: its costs name them as `left_out`.
    """

    name: str
    about: str
    figures: Mapping[str, Figure]
    file: str = ""
    kind: Literal["modelled"] = "modelled"
    deployment: str = "signs, read at random over bit streams"

    @property
    def columns(self) -> Columns:
        """How its columns read."""
        value = {key: figure.value for key, figure in self.figures.items()}
        return Columns(
            int(value["height"]),
            value["grey_zone"],
            value["cell_current"],
            value["attenuation"],
            int(value["stream"]),
        )

    @property
    def crossbar_junctions(self) -> float:
        """Josephson junctions of one crossbar."""
        height = self.columns.height
        return (
            self.figures["cell_junctions"].value * height**2 + self.figures["line_junctions"].value * height
        )

    def with_figures(self, **values: float) -> "AQFPDevice":
        """The same device with other numbers, marked as inferred; raises SpokeshaveError for what none could have."""
        other = replace(self, figures=set_by_hand(self.name, self.figures, values, BOUNDS))
        if (wrong := other.unusable()) is not None:
            raise SpokeshaveError(f"{self.name}: {wrong[0]} {wrong[1]}")
        return other

    def unusable(self) -> tuple[str, str] | None:
        """A figure that suits no circuit, and what it must be; None where all do."""
        phases = self.figures["phases"].value
        return None if phases % 4 == 0 else ("phases", f"must be a multiple of 4, not {phases:g}")

    def describe(self) -> str:
        """Every figure with its unit, status and source, and what follows."""
        attojoules = 1e18 * self.crossbar_junctions * self.figures["junction_energy"].value
        cooled = attojoules * self.figures["cooling"].value
        junctions = f"a crossbar: {self.crossbar_junctions:.0f} junctions"
        follows = (f"{junctions}, {attojoules:.4g} aJ a clock, {cooled:.4g} cooled",)
        return described(self.name, self.about, self.figures, follows, self.file)

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None for binary weights of linear layers and convolutions of one group."""
        check_asked(scheme, layer)
        if (
            layer.kind not in ("linear", "convolution")
            or layer.groups != 1
            or len(layer.kernel) not in (0, 2)
        ):
            return (
                "columns of signs run linear layers and convolutions over maps, of one group, not "
                f"{layer.kind} layers of {layer.groups} groups over {len(layer.kernel)} axes"
            )
        return (
            None
            if isinstance(scheme, Binary)
            else f"a cell holds one bit: it runs binary weights, not {scheme}"
        )

    def junctions(self, layer: Layer) -> float:
        """Josephson junctions of a layer."""
        return sum(self.junctions_by_part(layer).values())

    def junctions_by_part(self, layer: Layer) -> dict[str, float]:
        """The same by what has them: its crossbars, and for every output a counter's gates and buffers."""
        tall, wide = -(-layer.columns // self.columns.height), -(-layer.rows // self.columns.height)
        gates, buffers, _ = _counter(tall, int(self.figures["phases"].value))
        return {
            "crossbars": tall * wide * self.crossbar_junctions,
            "counters": layer.rows * gates * self.figures["gate_junctions"].value,
            "buffers": layer.rows * buffers * self.figures["buffer_junctions"].value,
        }

    def cost(self, workload: Workload, plan: Plan | None = None) -> Cost:
        """One sample: energy at 4.2 K, without cooling, of the layers whose scheme is `Binary`.

        Every layer has crossbars of its own, and a position takes them for the length of a stream. Raises
        SpokeshaveError where no layer is binary.
        """
        layers = self.layers(workload, plan)
        clock, stream = self.figures["clock"].value, self.columns.stream
        at_the_wall = f"at 4.2 K; {self.figures['cooling'].value:g} times the energy at the wall"
        joules = sum(self.junctions(layer) * layer.positions for layer in layers) * stream
        by_layer = tuple((layer.name, self._seconds(layer)) for layer in layers)
        return Cost(
            kind="modelled",
            source=f"{self.name} ({self.file}), {at_the_wall}",
            latency_seconds=sum(seconds for _, seconds in by_layer),
            energy_joules=joules * self.figures["junction_energy"].value,
            weight_bytes=sum(layer.weight_count for layer in layers) // 8,
            samples_per_second=clock / (stream * max(layer.positions for layer in layers)),
            by_layer=by_layer,
            left_out=tuple(
                (layer_told(layer), ELSEWHERE) for layer in workload.layers if layer not in layers
            ),
        )

    def deploy(
        self,
        network: Any,
        example: Tensor | tuple[Tensor, ...],
        plan: Plan | None = None,
        calibration: Iterable[Any] | None = None,
        seed: int = 0,
    ) -> AQFPDeployment:
        """The network as columns read it: binary layers at random, batch norms and signs behind them as comparisons.

        `seed` begins the random bits; every call draws on. Calibration data is not needed. Raises SpokeshaveError for
        layers that the device cannot run.
        """
        if plan is None:
            raise SpokeshaveError(
                f"{self.name} runs a network under a plan that says which layers are binary"
            )
        workload = trace(network, example)
        cost, schemes = self.cost(workload, plan), assign(workload, plan)
        return deploy_binary(network, example, schemes, self.columns, cost, self.name, seed)

    def layers(self, workload: Workload, plan: Plan | None) -> list[Layer]:
        """The layers that it runs; raises SpokeshaveError for schemes that it cannot, and where there is none."""
        schemes = usable_schemes(self, workload, plan)
        layers = [layer for layer in workload.layers if layer.parameter in schemes]
        if not layers:
            raise SpokeshaveError(
                f"{self.name} runs binary layers alone; give at least one layer the scheme binary"
            )
        return layers

    def _seconds(self, layer: Layer) -> float:
        """All positions, one stream each, and the way through the counter: a gate a phase."""
        tall, phases = -(-layer.columns // self.columns.height), int(self.figures["phases"].value)
        depth = _counter(tall, phases)[2] / phases
        return (layer.positions * self.columns.stream + depth) / self.figures["clock"].value


@lru_cache(maxsize=256)
def _counter(bits: int, phases: int) -> tuple[int, int, int]:
    """Gates, buffers and depth of a counter."""
    circuit = counter(bits)
    return len(circuit.gates), circuit.buffers(phases), circuit.depth


def read_aqfp(file: DeviceFile) -> AQFPDevice:
    """Read a device of this family: a table for each of `BOUNDS`."""
    file.check_tables(list(BOUNDS), list(BOUNDS))
    figures = {key: file.figure((key,), bounds) for key, bounds in BOUNDS.items()}
    device = AQFPDevice(file.name, file.about, figures, file.path.name)
    if (wrong := device.unusable()) is not None:
        raise file.mistake((wrong[0], "value"), wrong[1])
    return device
