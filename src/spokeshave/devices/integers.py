"""An array of multiply-add units for whole numbers, from figures: bits, rates and energies, *modelled*.

seconds of a layer = launch + max(multiply-adds / (units * clock), bytes / bandwidth)
joules of a layer  = multiply-adds * (multiply + add) + outputs * rescale + bytes * byte_energy

Bytes are those of weights, inputs and outputs at their bits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

from torch import Tensor

from spokeshave.compiler.integers import IntegerDeployment, IntegerForm
from spokeshave.compiler.integers.settings import Joins, Per, Rescaling, Scales
from spokeshave.compiler.operations.integers import Rounding
from spokeshave.deployment import Cost
from spokeshave.devices.assignment import assign, usable_schemes
from spokeshave.devices.device import check_asked
from spokeshave.devices.device_file import DeviceFile
from spokeshave.devices.figure import Bounds, Fact, Figure, described
from spokeshave.devices.transposed import rows_reason
from spokeshave.devices.whole import deploy_whole, float_reason, whole_part, zeros_told
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import Codebook, FixedPoint, RowQuantizer
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload

BITS = ("weight_bits", "activation_bits", "accumulator_bits")
BOUNDS = {
    **dict.fromkeys(BITS, Bounds(least=1, most=64, whole=True)),
    "units": Bounds(least=1, most=10**9, whole=True),
    "clock": Bounds("Hz"),
    "bandwidth": Bounds("byte/s"),
    "launch": Bounds("s", least=0),
    **dict.fromkeys(("multiply_energy", "add_energy", "rescale_energy", "byte_energy"), Bounds("J")),
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "per": get_args(Per),
    "scales": get_args(Scales),
    "rescale": get_args(Rescaling),
    "rounding": get_args(Rounding),
    "joins": get_args(Joins),
    "signed": (True, False),
}


@dataclass(frozen=True)
class IntegerDevice:
    """An array of whole numbers; `figures` and `facts` as its file has them, `form` what it computes with."""

    name: str
    about: str
    figures: Mapping[str, Figure]
    facts: Mapping[str, Fact]
    form: IntegerForm
    file: str = ""
    kind: Literal["modelled"] = "modelled"
    deployment: str = "whole numbers, bit for bit"

    def describe(self) -> str:
        """Every figure with its unit, status and source."""
        return described(self.name, self.about, {**self.figures, **self.facts}, (), self.file)

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None for levels that its multipliers take; it profits from no zeros."""
        check_asked(scheme, layer)
        against = rows_reason(layer) or float_reason(layer)
        if against is not None:
            return against
        if isinstance(scheme, Intersection):
            reasons = [self.supports(part, layer) for part in scheme.parts]
            return None if None in reasons else reasons[0]
        if not isinstance(scheme, RowQuantizer | MixedRows):
            levels = "its levels are no multiples of a scale" if isinstance(scheme, Codebook) else None
            reason = levels or f"{self.name} computes with the zeros too"
            return f"{reason}; it uses {self._usable()}"
        if self.form.rescale == "shift":
            reason = f"{self.name} rescales by shifts alone, and the scales of these levels are any numbers"
            return f"{reason}; it uses {self._usable()}"
        return self._width_reason(scheme)

    def _usable(self) -> str:
        """The schemes that it can use, for people to read."""
        if self.form.rescale == "shift":
            return "dense layers, which it puts into whole numbers itself"
        return f"fixed_point of up to {self.form.weight_bits} bits, power_of_two, binary and mixed_rows"

    def _width_reason(self, scheme: RowQuantizer | MixedRows) -> str | None:
        parts = (scheme.first, scheme.second) if isinstance(scheme, MixedRows) else (scheme,)
        wide = [
            part.bits for part in parts if isinstance(part, FixedPoint) and part.bits > self.form.weight_bits
        ]
        return (
            f"{self.name} multiplies weights of {self.form.weight_bits} bits, not {max(wide)}"
            if wide
            else None
        )

    def cost(self, workload: Workload, plan: Plan | None = None) -> Cost:
        """Modelled latency, energy and weight bytes of one sample; steps without matrices cost nothing.

        Layers that stay float32 are `left_out`.
        """
        bits, zeros = self.bits(workload, plan), zeros_told(assign(workload, plan))
        workload, left_out = whole_part(self.name, workload)
        pairs = tuple(zip(workload.layers, bits, strict=True))
        by_layer = tuple((layer.name, self.seconds(layer, wide)) for layer, wide in pairs)
        weights = workload.once([layer.weight_count * wide / 8 for layer, wide in pairs])
        return Cost(
            kind="modelled",
            source=f"array of integer units, {self.name} ({self.file}){zeros}",
            latency_seconds=sum(seconds for _, seconds in by_layer),
            energy_joules=sum(self.joules(layer, wide) for layer, wide in pairs),
            weight_bytes=round(sum(weights)),
            by_layer=by_layer,
            left_out=left_out,
        )

    def bits(self, workload: Workload, plan: Plan | None = None) -> tuple[float, ...]:
        """Bits of a weight of each layer in whole numbers.

        Raises SpokeshaveError for schemes that it does not support.
        """
        schemes, layers = usable_schemes(self, workload, plan), whole_part(self.name, workload)[0].layers
        return tuple(self._weight_bits(schemes.get(layer.parameter or "")) for layer in layers)

    def seconds(self, layer: Layer, weight_bits: float) -> float:
        """Modelled seconds of one layer."""
        multiplying = layer.multiply_adds / (self._value("units") * self._value("clock"))
        moving = self.moved_bytes(layer, weight_bits) / self._value("bandwidth")
        return self._value("launch") + max(multiplying, moving)

    def joules(self, layer: Layer, weight_bits: float) -> float:
        """Modelled energy of one layer."""
        product = self._value("multiply_energy") + self._value("add_energy")
        rescaling = layer.rows * layer.positions * self._value("rescale_energy")
        return (
            layer.multiply_adds * product
            + rescaling
            + self.moved_bytes(layer, weight_bits) * self._value("byte_energy")
        )

    def deploy(
        self,
        network: Any,
        example: Tensor | tuple[Tensor, ...],
        plan: Plan | None = None,
        calibration: Iterable[Any] | None = None,
    ) -> IntegerDeployment:
        """The network in whole numbers, bit for bit as the array computes it.

        Raises SpokeshaveError without calibration data, for schemes that the array cannot multiply with, and where sums
        may overflow its accumulators.
        """
        return deploy_whole(self, network, example, plan, calibration)

    def _value(self, name: str) -> float:
        return self.figures[name].value

    def _weight_bits(self, scheme: Scheme | None) -> float:
        """Bits a weight takes; of rows of two formats on average."""
        if isinstance(scheme, MixedRows):
            first, second = (self._weight_bits(part) for part in (scheme.first, scheme.second))
            return first + scheme.share * (second - first)
        if isinstance(scheme, Intersection):
            return min(self._weight_bits(part) for part in scheme.parts)
        if isinstance(scheme, RowQuantizer):
            return getattr(scheme, "bits", 1)
        return self.form.weight_bits

    def moved_bytes(self, layer: Layer, weight_bits: float) -> float:
        """Bytes of weights, inputs and outputs, at their bits."""
        read = prod(layer.input_shape) + (0 if layer.weight_shape else layer.rows * layer.columns)
        values = read + layer.rows * layer.positions
        return (layer.weight_count * weight_bits + values * self.form.activation_bits) / 8


def read_integers(file: DeviceFile) -> IntegerDevice:
    """Read a device of this family: a table for each of `BOUNDS` and `CHOICES`."""
    names = [*BOUNDS, *CHOICES]
    file.check_tables(names, names)
    figures = {key: file.figure((key,), bounds) for key, bounds in BOUNDS.items()}
    facts = {key: file.fact((key,), choices) for key, choices in CHOICES.items()}
    settings: dict[str, Any] = {key: int(figures[key].value) for key in BITS}
    settings |= {key: fact.value for key, fact in facts.items()}
    try:
        form = IntegerForm(**settings, attention="whole")
    except SpokeshaveError as error:
        raise file.contradiction(error, (*CHOICES, *BITS)) from error
    return IntegerDevice(file.name, file.about, figures, facts, form, file.path.name)
