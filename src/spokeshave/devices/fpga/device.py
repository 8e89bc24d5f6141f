"""An FPGA with one engine for matrix products, from figures: cycles, resources and power, *modelled*.

seconds = cycles / clock, of all products one behind the other (`cycles.py`)
watts   = static + clock * (dsp * dsp_energy + lut * lut_energy + bram * bram_energy), of what the engine takes
joules  = watts * seconds + bytes * byte_energy
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from spokeshave.compiler.integers import IntegerDeployment, IntegerForm
from spokeshave.deployment import Cost
from spokeshave.devices.assignment import assign, check_memory, usable_schemes
from spokeshave.devices.device import check_asked
from spokeshave.devices.figure import Bounds, Fact, Figure, by_hand, described, readable, set_by_hand
from spokeshave.devices.fpga.engine import Engine
from spokeshave.devices.fpga.mapped import Mapped, map_network
from spokeshave.devices.fpga.mapping import Work, scheme_reason, works
from spokeshave.devices.fpga.resources import Resources, resources_of
from spokeshave.devices.fpga.signs import ELSEWHERE, check_signs, layer_reason
from spokeshave.devices.transposed import rows_reason
from spokeshave.devices.whole import deploy_whole, float_reason, parted, whole_part, zeros_told
from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_choice
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload, trace

LANES = ("int8", "int4", "shift", "binary")
SIZES = ("columns", "depth", "positions", "load_bytes", "outputs", "accumulator_bits")
SIZES_TO_LESSEN = ("columns", "depth", "positions", "outputs")
COUNTS = ("dsp", "lut", "ff", "bram")  # of a chip
LARGEST_SIZE = 1 << 20
BOUNDS = {
    **dict.fromkeys(COUNTS, Bounds(most=10**9)),  # a part of a chip that designs share may be no whole number
    **dict.fromkeys(("usable", "bandwidth_share"), Bounds(most=1)),
    "clock": Bounds("Hz"),
    "bandwidth": Bounds("byte/s"),
    "memory": Bounds("byte"),
    "static_power": Bounds("W"),
    **dict.fromkeys(("dsp_energy", "lut_energy", "bram_energy", "byte_energy"), Bounds("J")),
    **dict.fromkeys(LANES, Bounds(least=0, most=LARGEST_SIZE, whole=True)),
    **dict.fromkeys(SIZES, Bounds(least=1, most=LARGEST_SIZE, whole=True)),
}


@dataclass(frozen=True)
class FPGADevice:
    """An FPGA and the engine that is on it; `figures` and `facts` as its file has them."""

    name: str
    about: str
    figures: Mapping[str, Figure]
    facts: Mapping[str, Fact]
    engine: Engine
    file: str = ""
    kind: Literal["modelled"] = "modelled"
    deployment: str = (
        "whole numbers, products bit for bit as the generated Verilog (grouped convolutions and recurrent layers have "
        "none)"
    )

    @property
    def present(self) -> Resources:
        """All that there is on the chip."""
        return Resources(*(self._value(name) for name in ("dsp", "lut", "ff", "bram")))

    @property
    def budget(self) -> Resources:
        """What a design can use of it and still be routed."""
        return self.present * self._value("usable")

    @cached_property
    def used(self) -> Resources:
        """What the engine takes."""
        return resources_of(self.engine)

    @property
    def clock(self) -> float:
        """Cycles a second."""
        return self._value("clock")

    @property
    def bandwidth(self) -> float:
        """Bytes a second that reach or leave the engine."""
        return self._value("bandwidth") * self._value("bandwidth_share")

    @property
    def peak(self) -> float:
        """Multiply-adds a second with all lanes at work."""
        return self.engine.products * self.clock

    @property
    def watts(self) -> float:
        """With the engine at work."""
        return sum(self.watts_by_part().values())

    def watts_by_part(self) -> dict[str, float]:
        """The same by what takes them: the chip standing by, and the engine's parts switching."""
        parts = {"DSP blocks": "dsp", "LUTs": "lut", "block RAMs": "bram"}
        switching = {
            told: self.clock * getattr(self.used, name) * self._value(f"{name}_energy")
            for told, name in parts.items()
        }
        return {"standing by": self._value("static_power")} | switching

    def with_engine(self, engine: Engine) -> "FPGADevice":
        """The same chip with another engine; raises SpokeshaveError where it is too large (`misfit`)."""
        check_kind("the engine", engine, Engine, "an Engine")
        other = replace(self, engine=engine)
        reason = other.misfit()
        if reason is not None:
            raise SpokeshaveError(f"{self.name}: {reason}")
        return other

    def with_figures(self, **values: float) -> "FPGADevice":
        """The same device with other numbers of its chip, marked as set by hand; the engine stays (`with_engine`).

        Raises SpokeshaveError for what no chip could have, and for chips that are too small for the engine; a slower
        memory is told by `misfit` alone.
        """
        chip = {key: bounds for key, bounds in BOUNDS.items() if key not in (*LANES, *SIZES)}
        figures = {key: self.figures[key] for key in chip}
        other = replace(self, figures={**self.figures, **set_by_hand(self.name, figures, values, chip)})
        reason = other._too_small()
        if reason is not None:
            raise SpokeshaveError(f"{self.name}: {reason}")
        return other

    def with_budget(self, **counts: float | None) -> "FPGADevice":
        """The same chip of which a design may use only so many `dsp`, `lut`, `ff` and `bram`; None leaves one alone."""
        for name in counts:
            check_choice("with_budget", "a count", name, COUNTS)
        usable = self._value("usable")
        given = {name: count / usable for name, count in counts.items() if count is not None}
        for name, count in given.items():
            if not count >= 0:
                raise SpokeshaveError(f"{name} must be 0 or more, not {usable * count:g}")
            if count > self._value(name):
                raise SpokeshaveError(
                    f"{self.name} has {self._value(name):,.0f} {name.upper()}, of which designs can use "
                    f"{usable * self._value(name):,.0f}: {usable * count:,.0f} are more"
                )
        return replace(self, figures=by_hand(self.figures, given))

    def misfit(self) -> str | None:
        """The resource that the engine exceeds most, by how much, and what would fit; None if none."""
        return self._too_small() or self._too_slow()

    def _too_small(self) -> str | None:
        shares = self.used.shares(self.budget)
        worst = max(shares, key=lambda name: shares[name])
        if shares[worst] > 1:
            used, there = (getattr(one, worst) for one in (self.used, self.budget))
            return (
                f"the engine needs {used:,.0f} {worst.upper()}, {shares[worst]:.2f} times the {there:,.0f} that "
                f"designs can use of {getattr(self.present, worst):,.0f}; {self._what_fits()}"
            )
        return None

    def _too_slow(self) -> str | None:
        moved = (self.engine.load_bytes + self.engine.outputs) * self.clock
        if moved > self.bandwidth:
            return (
                f"{self.engine.load_bytes} bytes in and {self.engine.outputs} out a cycle are {moved / 1e9:.1f} GB/s, "
                f"{moved / self.bandwidth:.2f} times what memory gives; {self._which_bytes_fit()}"
            )
        return None

    def _which_bytes_fit(self) -> str:
        """The most bytes in a cycle, with fewer out where one in would be too many."""
        there = int(self.bandwidth / self.clock)
        if there > self.engine.outputs:
            return f"load_bytes={there - self.engine.outputs} would fit"
        if there > 1:
            return f"load_bytes=1 with outputs={there - 1} would fit"
        least = readable(2 * self.clock, "byte/s")
        return f"no engine fits, for a byte in and one out a cycle at this clock are {least}"

    def _what_fits(self) -> str:
        """The most of the first size that makes it fit alone: columns, else what makes memories large."""
        if (size := self.size_to_lessen()) is not None:
            return f"with {size}={self._most(size)} in place of {getattr(self.engine, size)} it would fit"
        ones: dict[str, Any] = dict.fromkeys(SIZES_TO_LESSEN, 1)
        smallest = replace(self.engine, **ones)
        if max(resources_of(smallest).shares(self.budget).values()) > 1:
            return f"no number of {' or '.join(SIZES_TO_LESSEN)} makes it fit: take fewer lanes"
        return f"take less of several of {', '.join(SIZES_TO_LESSEN)}, for no one of them alone makes it fit"

    def size_to_lessen(self) -> str | None:
        """The first size that makes the engine fit alone, or None."""
        return next((size for size in SIZES_TO_LESSEN if self._most(size)), None)

    def _most(self, size: str) -> int:
        """The most of a size with which the engine fits, found by halving: more never take less; 0 where none does."""
        fits, too_many = 0, getattr(self.engine, size)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            used = resources_of(replace(self.engine, **{size: middle}))
            if max(used.shares(self.budget).values()) <= 1:
                fits = middle
            else:
                too_many = middle
        return fits

    def describe(self) -> str:
        """Every figure with its unit, status and source, and what the engine takes of the chip."""
        shares = self.used.shares(self.present)
        taken = ", ".join(
            f"{getattr(self.used, name):,.0f} {name.upper()} ({100 * share:.0f} %)"
            for name, share in shares.items()
        )
        follows = (
            f"the engine takes {taken} of the whole chip, as modelled; {self.watts:.1f} W at work",
            f"{self.engine.products} products a cycle: {self.peak / 1e9:,.0f} G multiply-adds a second",
        )
        return described(self.name, self.about, {**self.figures, **self.facts}, follows, self.file)

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None for levels that a kind of lane multiplies with; it profits from no zeros."""
        check_asked(scheme, layer)
        if layer.parameter is None:
            return "a product of two activations has no weights to put into a scheme"
        lanes = self.engine.lanes
        reason = rows_reason(layer) or float_reason(layer) or scheme_reason(scheme, lanes)
        reason = reason or self._scale_reason() or (layer_reason(layer) if lanes.binary else None)
        bytes_ = "fixed_point of up to 8 bits, power_of_two of up to 4, binary and mixed_rows of these"
        if self._scale_reason():
            bytes_ = "dense layers, which it puts into whole numbers itself"
        usable = "binary behind a Sign" if lanes.binary else bytes_
        return None if reason is None else f"{reason}; {self.name} uses {usable}"

    def _scale_reason(self) -> str | None:
        """Why no scheme's scales suit how sums are rescaled, or None."""
        if self.engine.requantizer == "multiplier" or self.engine.lanes.binary:
            return None
        return "its engine rescales by shifts alone, and the scales of these levels are any numbers"

    def works(self, workload: Workload, plan: Plan | None = None) -> tuple[Work, ...]:
        """The layers in whole numbers as products, in the formats of the plan.

        Raises SpokeshaveError for schemes that it cannot use.
        """
        schemes = usable_schemes(self, workload, plan)
        return works(self._parted(workload, schemes)[0].layers, schemes, self.engine.lanes)

    def _parted(
        self, workload: Workload, schemes: Mapping[str, Scheme]
    ) -> tuple[Workload, tuple[tuple[str, str], ...]]:
        """The layers that the engine runs, and `(layer, why)` of the others."""
        kept, left_out = whole_part(self.name, workload)
        if not self.engine.lanes.binary:
            return kept, left_out
        kept, others = parted(kept, lambda layer: None if layer.parameter in schemes else ELSEWHERE)
        if not kept.layers:
            raise SpokeshaveError(
                f"{self.name} runs binary layers alone; give at least one layer the scheme binary"
            )
        return kept, (*left_out, *others)

    def mapped(self, workload: Workload, plan: Plan | None = None) -> Mapped:
        """Every layer's cycles and bytes on the engine."""
        return map_network(self.engine, self.works(workload, plan))

    def cost(self, workload: Workload, plan: Plan | None = None) -> Cost:
        """Modelled latency, energy and weight bytes of one sample; steps without matrices cost nothing.

        Samples follow each other, so their rate is one by the latency. Layers that stay float32 are `left_out`. Raises
        SpokeshaveError for weights larger than the memory.
        """
        schemes = usable_schemes(self, workload, plan)
        kept, left_out = self._parted(workload, schemes)
        products = works(kept.layers, schemes, self.engine.lanes)
        weight_bytes = self._weight_bytes(kept, products)
        mapped = map_network(self.engine, products)
        seconds = mapped.cycles / self.clock
        return Cost(
            kind="modelled",
            source=f"engine of {self.name} ({self.file}){zeros_told(schemes)}",
            latency_seconds=seconds,
            energy_joules=self.watts * seconds + mapped.moved_bytes * self._value("byte_energy"),
            weight_bytes=round(weight_bytes),
            samples_per_second=1 / seconds,
            by_layer=tuple((layer.name, layer.cycles / self.clock) for layer in mapped.layers),
            left_out=left_out,
        )

    def weight_bytes(self, workload: Workload, plan: Plan | None = None) -> float:
        """Bytes of all weights; raises SpokeshaveError where they are larger than the memory."""
        schemes = usable_schemes(self, workload, plan)
        kept = self._parted(workload, schemes)[0]
        return self._weight_bytes(kept, works(kept.layers, schemes, self.engine.lanes))

    def _weight_bytes(self, kept: Workload, products: Sequence[Work]) -> float:
        found = sum(kept.once([work.weight_bits for work in products])) / 8
        check_memory(self.name, found, self._value("memory"))
        return found

    def check_dsp(self, engine: str, dsp: int) -> None:
        """Raise SpokeshaveError for an engine of another kind with more DSP blocks than designs can use."""
        if dsp > self.budget.dsp:
            raise SpokeshaveError(
                f"{self.name}: {engine} needs {dsp:,} DSP, {dsp / self.budget.dsp:.2f} times the "
                f"{self.budget.dsp:,.0f} that designs can use of {self.present.dsp:,.0f}; take fewer lanes or columns"
            )

    def deploy(
        self,
        network: Any,
        example: Tensor | tuple[Tensor, ...],
        plan: Plan | None = None,
        calibration: Iterable[Any] | None = None,
    ) -> IntegerDeployment:
        """The network in whole numbers, layers bit for bit as the engine computes them; gates by tables.

        Raises SpokeshaveError without calibration data, for schemes that no lane multiplies with, where sums may
        overflow the accumulators, and where layers of binary lanes read anything but signs.
        """
        deployment = deploy_whole(self, network, example, plan, calibration)
        if self.engine.lanes.binary:
            check_signs(deployment.graph, assign(trace(network, example), plan))
        return deployment

    @property
    def form(self) -> IntegerForm:
        """How it computes with whole numbers."""
        by_shift = self.engine.requantizer == "shift"
        return IntegerForm(
            per="tensor" if by_shift else "row",
            scales="power_of_two" if by_shift else "arbitrary",
            rescale=self.engine.requantizer,
            joins="separate",
            signed=self.engine.signed,
            accumulator_bits=self.engine.accumulator_bits,
            attention="whole",
        )

    def _value(self, name: str) -> float:
        return self.figures[name].value
