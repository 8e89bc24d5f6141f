"""How a device computes with whole numbers."""

from dataclasses import dataclass
from typing import Literal, get_args

from spokeshave.compiler.operations.integers import Rounding
from spokeshave.compiler.quantization.observers import OBSERVERS
from spokeshave.errors import SpokeshaveError

Per = Literal["row", "tensor"]
Scales = Literal["arbitrary", "power_of_two"]
Rescaling = Literal["float", "multiplier", "shift"]
Joins = Literal["fused", "separate", "operators"]
Products = Literal["float", "whole"]


@dataclass(frozen=True)
class IntegerForm:
    """Bits, scales and what brings sums back to them.

    `weight_bits` is for weights that lie in no scheme of levels; `per`: one scale a row of a weight, or one for all.
    `scales`: arbitrary (values have zero points then) or powers of two. `rescale`: by a float32 scale, as this
    compiler's int8 does; by a whole multiplier and a shift; or by a shift alone, which needs scales that are powers of
    two, one for each weight. `joins`: a residual is added to a layer's sums before these are rescaled ("fused"), or to
    its output, as one more operation ("separate"); "operators" quantizes behind every operator, activations too.
    `rounding` "twice" is for multipliers, without fused joins. `signed`: values that are never negative have a sign
    too. `accumulator_bits` is what sums must fit. `observer` says which range of what was observed is kept
    (`quantization/observers.py`). `attention`: whether its two products are of whole numbers, as layers' are, with a
    softmax in float32 between them.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    per: Per = "row"
    scales: Scales = "arbitrary"
    rescale: Rescaling = "float"
    rounding: Rounding = "once"
    joins: Joins = "fused"
    signed: bool = False
    accumulator_bits: int = 32
    observer: str = "mean_squared_error"
    attention: Products = "float"

    def __post_init__(self) -> None:
        for field, least, most in (
            ("weight_bits", 2, 16),
            ("activation_bits", 2, 16),
            ("accumulator_bits", 8, 53),
        ):
            value = getattr(self, field)
            if type(value) is not int or not least <= value <= most:
                raise SpokeshaveError(f"{field} must be a whole number from {least} to {most}, not {value!r}")
        choices = {"per": Per, "scales": Scales, "rescale": Rescaling, "rounding": Rounding, "joins": Joins}
        choices["attention"] = Products
        known = {field: get_args(kind) for field, kind in choices.items()} | {"observer": tuple(OBSERVERS)}
        for field, names in known.items():
            if getattr(self, field) not in names:
                raise SpokeshaveError(
                    f"{field} must be one of {', '.join(names)}, not {getattr(self, field)!r}"
                )
        if self.rescale == "shift" and (self.scales, self.per) != ("power_of_two", "tensor"):
            raise SpokeshaveError("rescaling by shifts alone needs scales='power_of_two' and per='tensor'")
        if self.rounding == "twice" and (self.rescale != "multiplier" or self.joins == "fused"):
            raise SpokeshaveError("rounding='twice' needs rescale='multiplier' and joins that are not fused")
        if type(self.signed) is not bool:
            raise SpokeshaveError(f"signed must be true or false, not {self.signed!r}")
