"""Layers in integers: which can be, and how they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from spokeshave.compiler.emit.layouts import choose_layouts
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.layout import Layout, Planes
from spokeshave.compiler.operations import (
    Convolution,
    Dequantize,
    Linear,
    Quantization,
    Quantize,
    Quantized,
    Recurrent,
    SelectedLinear,
)
from spokeshave.compiler.quantization.arithmetic import MOST_INPUTS
from spokeshave.compiler.quantization.convert import convert_layers
from spokeshave.compiler.quantization.pooling import pools_to_integers
from spokeshave.compiler.quantization.recurrent import recurrent_layers_to_integers
from spokeshave.compiler.quantization.selected import selected_layers_to_integers
from spokeshave.compiler.quantization.weights import quantize_rows
from spokeshave.compiler.verify import verify


def integer_layers(graph: Graph, isa: InstructionSet) -> dict[str, str | None]:
    """The layers of a segment by the first value they make: None for those that can be integers, else why not."""
    layouts = choose_layouts(graph, isa)
    return {
        node.outputs[0]: _reason(graph, node, layouts)
        for node in graph.nodes
        if isinstance(node.operation, Convolution | Linear | Recurrent | SelectedLinear)
    }


def _reason(graph: Graph, node: Node, layouts: Mapping[str, Layout]) -> str | None:
    operation = node.operation
    assert isinstance(operation, Convolution | Linear | Recurrent | SelectedLinear)
    if isinstance(operation, Recurrent):
        names: tuple[str, ...] = (operation.input_weight, operation.hidden_weight)
    elif isinstance(operation, Linear | SelectedLinear) or all(
        isinstance(layouts[name], Planes) for name in (*node.inputs, node.output)
    ):
        names = (operation.weight,)
    else:
        return "a convolution of a single position has no kernel in integers"
    stacked = int(isinstance(operation, SelectedLinear))
    most = max(graph.weights[name].flatten(0, stacked)[0].numel() for name in names)
    return None if most <= MOST_INPUTS else "its sums overflow int32"


def to_integers(graph: Graph, chosen: frozenset[str], quantizations: Mapping[str, Quantization]) -> Graph:
    """The graph with the layers that make the values `chosen` in integers; `quantizations` by value."""
    recurrent = {node.outputs[0] for node in graph.nodes if isinstance(node.operation, Recurrent)}
    graph = recurrent_layers_to_integers(graph, chosen & recurrent, quantizations)
    selected = {node.outputs[0] for node in graph.nodes if isinstance(node.operation, SelectedLinear)}
    graph = selected_layers_to_integers(graph, chosen & selected, quantizations)
    graph = convert_layers(graph, chosen - recurrent - selected, _Integers(graph.weights, quantizations))
    return verify(pools_to_integers(graph))


@dataclass(frozen=True)
class _Integers:
    """uint8 values, int8 weights with a scale for each row."""

    weights: Mapping[str, Tensor]
    quantizations: Mapping[str, Quantization]
    dtype: str = "uint8"
    suffix: str = "integers"

    def narrow(self, value: str) -> Quantize:
        return Quantize(self.quantizations[value])

    def widen(self, value: str) -> Dequantize:
        return Dequantize(self.quantizations[value])

    def layer(
        self, node: Node, weight: str, residual: str | None, output: str | None
    ) -> tuple[Quantized, dict[str, Tensor]]:
        layer = node.operation
        assert isinstance(layer, Convolution | Linear)
        levels, scale = quantize_rows(self.weights[layer.weight])
        name = f"{layer.weight}.scale"
        ranges = [value and self.quantizations[value] for value in (node.inputs[0], residual, output)]
        assert ranges[0]
        operation = Quantized(
            replace(layer, weight=weight), name, ranges[0], ranges[1] or None, ranges[2] or None
        )
        return operation, {weight: levels, name: scale}
