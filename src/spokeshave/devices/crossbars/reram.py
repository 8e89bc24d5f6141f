"""Chips of resistive crossbars, from figures: area, energy and rate by what each layer does there, *modelled*.

seconds of a vector = steps * columns / (converters * converter rate)
joules of a vector  = conversions * (converter + adder) + driven word lines * driver
                    + crossbars * seconds * (array + registers + tile)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from spokeshave.compiler.integers import IntegerForm, whole_network
from spokeshave.compiler.integers.network import batched
from spokeshave.deployment import Cost
from spokeshave.devices.assignment import assign, layer_told, usable_schemes
from spokeshave.devices.crossbars.array import Array
from spokeshave.devices.crossbars.deployment import CrossbarDeployment, measured_bits, program_graph
from spokeshave.devices.crossbars.occupancy import (
    Occupancy,
    occupancies,
    replication,
    unmapped_reason,
)
from spokeshave.devices.device import check_asked
from spokeshave.devices.device_file import DeviceFile
from spokeshave.devices.figure import Bounds, Fact, Figure, described, set_by_hand
from spokeshave.devices.whole import needed
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload, trace

PARTS = ("driver", "array", "adder", "register", "tile")  # of a crossbar, besides its converters
NUMBERS = ("rows", "columns", "cell_bits", "weight_bits", "input_bits", "rows_at_once", "adc_bits")
BOUNDS = {
    **dict.fromkeys(NUMBERS, Bounds(least=1, most=4096, whole=True)),  # `Array` says more
    "variation": Bounds(least=0, most=10),
    **dict.fromkeys(("low_resistance", "high_resistance"), Bounds("ohm")),
    **dict.fromkeys(("crossbars", "converters"), Bounds(least=1, most=10**9, whole=True)),
    "effective_bits": Bounds(),
    "converter_rate": Bounds("1/s"),
    **dict.fromkeys(("converter_energy", "driver_energy", "adder_energy"), Bounds("J")),
    **dict.fromkeys(("array_power", "register_power", "tile_power"), Bounds("W")),
    **dict.fromkeys((f"{part}_area" for part in ("converter", *PARTS)), Bounds("mm2")),
}
ACCUMULATOR_BITS = 48  # of shift-and-add: wide enough for 16-bit inputs and weights of any layer
ELSEWHERE = "a product of two activations, which has no weights to program"
STANDING = ("array", "register", "tile")  # take power while a crossbar works
SHOWN = 16  # calibration samples on which input bits are measured
FACTS: dict[str, tuple[str | bool, ...]] = {
    "encoding": ("pairs", "offset", "polarized"),
    "flipped": (True, False),
    "skipping": (True, False),
}


@dataclass(frozen=True)
class ReRAMDevice:
    """A chip of crossbars that are read by converters; `figures` and `facts` as its file has them.

    Drivers, arrays, adders, registers and tiles (buffers, bus, router) count once for each crossbar. With `skipping` a
    fragment takes `effective_bits` of its input bits, or what was measured.
    """

    name: str
    about: str
    figures: Mapping[str, Figure]
    facts: Mapping[str, Fact]
    file: str = ""
    kind: Literal["modelled"] = "modelled"
    deployment: str = "whole numbers, sums by simulated crossbars and converters"

    @property
    def array(self) -> Array:
        """Its crossbars."""
        numbers = {key: int(self.figures[key].value) for key in NUMBERS}
        physics = {key: self.figures[key].value for key in ("variation", "low_resistance", "high_resistance")}
        facts = {key: self.facts[key].value for key in ("encoding", "flipped")}
        return Array(**numbers, **physics, **facts)  # type: ignore[arg-type]  # the file was checked

    def with_figures(self, **values: float) -> "ReRAMDevice":
        """The same device with other numbers, marked as inferred; raises SpokeshaveError for what none could have."""
        other = replace(self, figures=set_by_hand(self.name, self.figures, values, BOUNDS))
        if (wrong := other.unusable()) is not None:
            raise SpokeshaveError(f"{self.name}: {wrong[0]} {wrong[1]}")
        _ = other.array
        return other

    def unusable(self) -> tuple[str, str] | None:
        """A figure that contradicts another, and what it must be; None where none does."""
        needed, there = (self.figures[key].value for key in ("effective_bits", "input_bits"))
        return (
            None
            if needed <= there
            else ("effective_bits", f"must be at most input_bits ({there:g}), not {needed:g}")
        )

    def with_facts(self, **values: str | bool) -> "ReRAMDevice":
        """The same device with other facts, marked as inferred."""
        changed = {key: Fact(value, "inferred", "set by hand") for key, value in values.items()}
        return replace(self, facts={**self.facts, **changed})

    @property
    def crossbar_area(self) -> float:
        """Square millimetres of one crossbar with its share of everything."""
        areas = sum(self.figures[f"{part}_area"].value for part in PARTS)
        return areas + self.figures["converters"].value * self.figures["converter_area"].value

    @property
    def crossbar_power(self) -> float:
        """Watts of one crossbar that works all the time, with all columns in use."""
        standing = sum(self.figures[f"{part}_power"].value for part in STANDING)
        a_conversion = self.figures["converter_energy"].value + self.figures["adder_energy"].value
        conversions = self.figures["converters"].value * self.figures["converter_rate"].value
        driven = self.array.rows_at_once * self.figures["driver_energy"].value / self.step_seconds
        return standing + conversions * a_conversion + driven

    @property
    def step_seconds(self) -> float:
        """What it takes to read all columns of a crossbar once: one bit of one fragment."""
        rate = self.figures["converters"].value * self.figures["converter_rate"].value
        return self.array.columns / rate

    def describe(self) -> str:
        """Every figure with its unit, status and source, and what follows for the chip."""
        chip = self.figures["crossbars"].value
        area, power = chip * self.crossbar_area, chip * self.crossbar_power
        follows = (f"all crossbars: {area:.1f} mm2, {power:.1f} W at full work",)
        return described(self.name, self.about, {**self.figures, **self.facts}, follows, self.file)

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None for layers with weights, polarized where the crossbars need it."""
        check_asked(scheme, layer)
        return unmapped_reason(layer, scheme, self.array)

    def layers(
        self, workload: Workload, plan: Plan | None = None, bits: Mapping[str, float] | None = None
    ) -> tuple[Occupancy, ...]:
        """What every layer takes; `bits` by layer name, measured input bits of a fragment."""
        usual = self.figures["effective_bits" if self.facts["skipping"].value else "input_bits"].value
        schemes = self._schemes(workload, plan)
        return occupancies(workload.layers, schemes, self.array, bits or {}, usual)

    def cost(
        self, workload: Workload, plan: Plan | None = None, bits: Mapping[str, float] | None = None
    ) -> Cost:
        """One sample on a chip filled with copies of the layers; latency is that of one sample alone.

        Products of two activations (attention's) are `left_out`: nothing would be programmed for them. Raises
        SpokeshaveError where the network is too large for the chip, and for weights that crossbars cannot hold.
        """
        layers = self.layers(workload, plan, bits)
        copies = replication(layers, self.step_seconds, int(self.figures["crossbars"].value))
        seconds = [self._vector_seconds(layer) for layer in layers]
        by_layer = [
            -(-layer.vectors // copy) * one for layer, copy, one in zip(layers, copies, seconds, strict=True)
        ]
        slowest = max(
            layer.vectors / copy * one for layer, copy, one in zip(layers, copies, seconds, strict=True)
        )
        return Cost(
            kind="modelled",
            source=f"crossbars of {self.name} ({self.file})",
            latency_seconds=sum(by_layer),
            energy_joules=sum(self.layer_joules(layer) for layer in layers),
            weight_bytes=sum(layer.groups * layer.lines * layer.columns for layer in layers)
            * self.array.cell_bits
            // 8,
            samples_per_second=1 / slowest,
            area_mm2=self.figures["crossbars"].value * self.crossbar_area,
            by_layer=tuple((layer.name, one) for layer, one in zip(layers, by_layer, strict=True)),
            left_out=tuple(
                (layer_told(layer), ELSEWHERE) for layer in workload.layers if not layer.weight_shape
            ),
        )

    def layer_joules(self, layer: Occupancy) -> float:
        """Joules of one sample in a layer."""
        return sum(self.joules_by_part(layer).values())

    def joules_by_part(self, layer: Occupancy) -> dict[str, float]:
        """The same by what takes them: converters, adders, drivers, arrays, registers, tiles."""
        counts = {"converter": layer.conversions, "adder": layer.conversions, "driver": layer.driven}
        busy = layer.crossbars * self._vector_seconds(layer)
        moving = {f"{part}s": n * self.figures[f"{part}_energy"].value for part, n in counts.items()}
        standing = {f"{part}s": busy * self.figures[f"{part}_power"].value for part in STANDING}
        return {part: layer.vectors * joules for part, joules in (moving | standing).items()}

    def deploy(
        self,
        network: Any,
        example: Tensor | tuple[Tensor, ...],
        plan: Plan | None = None,
        calibration: Iterable[Any] | None = None,
        seed: int = 0,
    ) -> CrossbarDeployment:
        """The network in whole numbers, the sums of its layers by crossbars; `seed` draws the variation of cells.

        Its cost is by the input bits that fragments needed on calibration data, where bits are skipped. Raises
        SpokeshaveError without calibration data, and for weights that the crossbars cannot hold.
        """
        workload, batches = trace(network, example), list(needed(self, calibration))
        self._schemes(workload, plan)
        array = self.array
        form = IntegerForm(
            weight_bits=array.weight_bits, activation_bits=array.input_bits, accumulator_bits=ACCUMULATOR_BITS
        )
        whole = whole_network(network, example, batches, form, plan)
        products = program_graph(
            whole.graph, array, assign(workload, plan), torch.Generator().manual_seed(seed)
        )
        shown = batched(batches, SHOWN)[0]
        bits = measured_bits(whole.graph, products, shown) if self.facts["skipping"].value else None
        return CrossbarDeployment(whole, form, self.cost(workload, plan, bits), self.name, products, bits)

    def reprogrammed(
        self, made: CrossbarDeployment, schemes: Mapping[str, Scheme], seed: int = 0
    ) -> CrossbarDeployment:
        """A deployment of a device that differs in its cells or converters alone, its weights written to this one's.

        `schemes` by parameter, as of the plan that it was made with.
        """
        generator = torch.Generator().manual_seed(seed)
        products = program_graph(made.graph, self.array, schemes, generator)
        form = made.manifest.form
        return CrossbarDeployment(made.network, form, made.cost, self.name, products, made.bits)

    def _vector_seconds(self, layer: Occupancy) -> float:
        return layer.steps * self.step_seconds

    def _schemes(self, workload: Workload, plan: Plan | None) -> dict[str, Scheme]:
        """Schemes by parameter; raises SpokeshaveError for what crossbars cannot hold, dense layers included."""
        schemes = usable_schemes(self, workload, plan)
        weighted = [layer for layer in workload.layers if layer.weight_shape]
        for layer in weighted:
            reason = unmapped_reason(layer, schemes.get(layer.parameter or ""), self.array)
            if reason is not None:
                raise SpokeshaveError(f"{self.name} cannot run {layer_told(layer)}: {reason}")
        if not weighted:
            raise SpokeshaveError(f"the network has no weights to program into crossbars of {self.name}")
        return schemes


def read_reram(file: DeviceFile) -> ReRAMDevice:
    """Read a device of this family: a table for each of `BOUNDS` and `FACTS`."""
    names = [*BOUNDS, *FACTS]
    file.check_tables(names, names)
    figures = {key: file.figure((key,), bounds) for key, bounds in BOUNDS.items()}
    facts = {key: file.fact((key,), choices) for key, choices in FACTS.items()}
    device = ReRAMDevice(file.name, file.about, figures, facts, file.path.name)
    if (wrong := device.unusable()) is not None:
        raise file.mistake((wrong[0], "value"), wrong[1])
    try:
        _ = device.array
    except SpokeshaveError as reason:
        raise file.contradiction(reason, names) from reason
    return device
