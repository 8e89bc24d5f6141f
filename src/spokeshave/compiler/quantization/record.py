"""What a deployment says about the precision of its layers; part of its manifest."""

from dataclasses import dataclass
from typing import Any

from spokeshave.compiler.operations import Quantization


@dataclass(frozen=True)
class LayerPrecision:
    """Precision of one layer: `int8` with its scales (`weight_scale`: one an output row), `bfloat16`, or `float32`.

    `reason` says why it is float32, what alone is bfloat16, or why int8 changed weights that were codes already. Of a
    recurrent layer `output` is how its state is rounded, and `weight_scale` holds the rows of the input's weight, then
    those of the state's.
    """

    layer: str
    precision: str
    reason: str = ""
    input: Quantization | None = None
    output: Quantization | None = None
    weight_scale: tuple[float, ...] = ()


def layer_precision(entry: dict[str, Any]) -> LayerPrecision:
    """From its JSON form."""
    ranges = {key: entry[key] and Quantization(**entry[key]) for key in ("input", "output")}
    return LayerPrecision(**(entry | ranges | {"weight_scale": tuple(entry["weight_scale"])}))
