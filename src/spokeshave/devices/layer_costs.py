"""Measured costs of layers, kept on disk: timed once for each shape, scheme, instruction set and compiler."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from spokeshave.devices.layer_timing import LayerCost, time_layer
from spokeshave.devices.measured_cache import kept, of_the_code
from spokeshave.schemes.registry import scheme_to_dict
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer


@dataclass(frozen=True)
class Setting:
    """What a measurement hangs on besides the layer: the CPU's name and an instruction set of it."""

    cpu: str
    isa: str


def measured_cost(layer: Layer, scheme: Scheme | None, setting: Setting) -> LayerCost:
    """The cost of a layer; of one that has been timed before from `layers` in the user's cache folder."""
    return kept(
        "layers",
        layer_key(layer, scheme, setting),
        lambda entry: LayerCost(float(entry["seconds"]), int(entry["weight_bytes"])),
        lambda: asdict(time_layer(layer, scheme, setting.isa)),
    )


def layer_key(layer: Layer, scheme: Scheme | None, setting: Setting) -> dict[str, Any]:
    """Everything that a layer's cost hangs on; names of layers and parameters do not count."""
    shape = replace(layer, name="", parameter=layer.parameter and "weight", bias=layer.bias and "bias")
    return {
        "layer": asdict(shape),
        "scheme": None if scheme is None else scheme_to_dict(scheme),
        **asdict(setting),
        **of_the_code(),
    }
