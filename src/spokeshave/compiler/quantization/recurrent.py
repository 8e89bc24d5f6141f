"""Recurrent layers in integers: they read and make float32, and round their steps and their state by themselves."""

from collections.abc import Mapping, Set
from dataclasses import replace

from torch import Tensor

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Quantization, QuantizedRecurrent, Recurrent
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.quantization.arithmetic import LARGEST_WEIGHT, LEVELS
from spokeshave.compiler.quantization.weights import quantize_rows
from spokeshave.compiler.verify import verify


def recurrent_layers_to_integers(
    graph: Graph, chosen: Set[str], quantizations: Mapping[str, Quantization]
) -> Graph:
    """The graph with the recurrent layers whose sequences are `chosen` in integers."""
    if not chosen:
        return graph
    weights = dict(graph.weights)
    nodes = tuple(
        _converted(node, weights, quantizations) if node.outputs[0] in chosen else node
        for node in graph.nodes
    )
    return verify(eliminate_dead(replace(graph, nodes=nodes, weights=weights)))


def _converted(node: Node, weights: dict[str, Tensor], quantizations: Mapping[str, Quantization]) -> Node:
    layer = node.operation
    assert isinstance(layer, Recurrent)
    names = layer.input_weight, layer.hidden_weight
    for name in names:
        weights |= dict(zip(_integer_names(name), quantize_rows(weights[name]), strict=True))
    (entry, entry_scale), (hidden, hidden_scale) = (_integer_names(name) for name in names)
    operation = QuantizedRecurrent(
        replace(layer, input_weight=entry, hidden_weight=hidden),
        entry_scale,
        hidden_scale,
        quantizations[node.inputs[0]],
        _of_state(_largest_start(node, layer, weights, quantizations)),
    )
    return replace(node, operation=operation)


def _integer_names(weight: str) -> tuple[str, str]:
    """Names of a weight's integers and of their scales."""
    return f"{weight}.integers", f"{weight}.scale"


def _largest_start(
    node: Node, layer: Recurrent, weights: Mapping[str, Tensor], quantizations: Mapping[str, Quantization]
) -> float:
    """The largest number of a state before the first step."""
    if len(node.inputs) > 1:
        given = quantizations[node.inputs[1]]
        return given.scale * max(given.zero_point, LEVELS - given.zero_point)
    return float(weights[layer.hidden_state].abs().max()) if layer.hidden_state else 0.0


def _of_state(largest_start: float) -> Quantization:
    """Of a state h: no step makes it larger than 1, or than it was."""
    return Quantization(max(1.0, largest_start) / LARGEST_WEIGHT, LARGEST_WEIGHT + 1)
