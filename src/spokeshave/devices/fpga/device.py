"""An FPGA with one engine for matrix products, from figures: cycles, resources and power, *modelled*.

seconds = cycles / clock, of all products one behind the other (`cycles.py`)
watts   = static + clock * (dsp * dsp_energy + lut * lut_energy + bram * bram_energy), of what the engine takes
joules  = watts * seconds + bytes * byte_energy
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from spokeshave.compiler.integers import IntegerDeployment, IntegerForm
from spokeshave.deployment import Cost
from spokeshave.devices.assignment import assign, usable_schemes
from spokeshave.devices.figure import Fact, Figure, described, readable, set_by_hand
from spokeshave.devices.fpga.engine import Engine
from spokeshave.devices.fpga.mapped import Mapped, map_network
from spokeshave.devices.fpga.mapping import Work, scheme_reason, works
from spokeshave.devices.fpga.resources import Resources, resources_of
from spokeshave.devices.fpga.signs import ELSEWHERE, check_signs, layer_reason
from spokeshave.devices.transposed import rows_reason
from spokeshave.devices.whole import deploy_whole, float_reason, parted, whole_part
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload, trace


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
        "whole numbers, products bit for bit as the generated Verilog (grouped convolutions have none)"
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
        other = replace(self, engine=engine)
        reason = other.misfit()
        if reason is not None:
            raise SpokeshaveError(f"{self.name}: {reason}")
        return other

    def with_figures(self, **values: float) -> "FPGADevice":
        """The same device with other numbers, marked as set by hand."""
        return replace(self, figures=set_by_hand(self.figures, values))

    def with_budget(self, **counts: float | None) -> "FPGADevice":
        """The same chip of which a design may use only so many `dsp`, `lut`, `ff` and `bram`; None leaves one alone."""
        usable = self._value("usable")
        given = {name: count / usable for name, count in counts.items() if count is not None}
        for name, count in given.items():
            if count > self._value(name):
                raise SpokeshaveError(
                    f"{self.name} has {self._value(name):,.0f} {name.upper()}, of which designs can use "
                    f"{usable * self._value(name):,.0f}: {usable * count:,.0f} are more"
                )
        return self.with_figures(**given)

    def misfit(self) -> str | None:
        """The resource that the engine exceeds most, by how much, and how many columns would fit; None if none."""
        shares = self.used.shares(self.budget)
        worst = max(shares, key=lambda name: shares[name])
        if shares[worst] > 1:
            used, there = (getattr(one, worst) for one in (self.used, self.budget))
            return (
                f"the engine needs {used:,.0f} {worst.upper()}, {shares[worst]:.2f} times the {there:,.0f} that "
                f"designs can use of {getattr(self.present, worst):,.0f}; {self._what_fits()}"
            )
        moved = (self.engine.load_bytes + self.engine.outputs) * self.clock
        if moved > self.bandwidth:
            most = int(self.bandwidth / self.clock) - self.engine.outputs
            return (
                f"{self.engine.load_bytes} bytes in and {self.engine.outputs} out a cycle are {moved / 1e9:.1f} GB/s, "
                f"{moved / self.bandwidth:.2f} times what memory gives; load_bytes={max(most, 1)} would fit"
            )
        return None

    def _what_fits(self) -> str:
        """The most columns, found by halving: more of them never take less."""
        fits, too_many = 0, self.engine.columns
        while too_many - fits > 1:
            columns = (fits + too_many) // 2
            used = resources_of(replace(self.engine, columns=columns))
            if max(used.shares(self.budget).values()) <= 1:
                fits = columns
            else:
                too_many = columns
        if fits:
            return f"with columns={fits} in place of {self.engine.columns} it would fit"
        return "no number of columns makes it fit: take fewer lanes"

    def describe(self) -> str:
        """Every figure with its unit, status and source, and what the engine takes of the chip."""
        shares = self.used.shares(self.present)
        taken = ", ".join(
            f"{getattr(self.used, name):,.0f} {name.upper()} ({100 * share:.0f} %)"
            for name, share in shares.items()
        )
        follows = (
            f"the engine takes {taken}, as modelled; {self.watts:.1f} W at work",
            f"{self.engine.products} products a cycle: {self.peak / 1e9:,.0f} G multiply-adds a second",
        )
        return described(self.name, self.about, {**self.figures, **self.facts}, follows, self.file)

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None for levels that a kind of lane multiplies with; it profits from no zeros."""
        if layer.parameter is None:
            return "a product of two activations has no weights to put into a scheme"
        lanes = self.engine.lanes
        reason = rows_reason(layer) or float_reason(layer) or scheme_reason(scheme, lanes)
        reason = reason or (layer_reason(layer) if lanes.binary else None)
        bytes_ = "fixed_point of up to 8 bits, power_of_two of up to 4, binary and mixed_rows of these"
        usable = "binary behind a Sign" if lanes.binary else bytes_
        return None if reason is None else f"{reason}; {self.name} uses {usable}"

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
        works = self.works(workload, plan)
        workload, left_out = self._parted(workload, assign(workload, plan))
        weight_bits = sum(workload.once([work.weight_bits for work in works]))
        self._check_memory(weight_bits / 8)
        mapped = map_network(self.engine, works)
        seconds = mapped.cycles / self.clock
        return Cost(
            kind="modelled",
            source=f"engine of {self.name} ({self.file})",
            latency_seconds=seconds,
            energy_joules=self.watts * seconds + mapped.moved_bytes * self._value("byte_energy"),
            weight_bytes=round(weight_bits / 8),
            samples_per_second=1 / seconds,
            by_layer=tuple((layer.name, layer.cycles / self.clock) for layer in mapped.layers),
            left_out=left_out,
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

    def _check_memory(self, weight_bytes: float) -> None:
        there = self._value("memory")
        if weight_bytes > there:
            raise SpokeshaveError(
                f"the weights take {readable(weight_bytes, 'byte')}, {weight_bytes / there:.3g} times the memory of "
                f"{self.name}; {readable(there, 'byte')} would fit"
            )

    def _value(self, name: str) -> float:
        return self.figures[name].value
