"""Products with chosen matrices in integers: they read and make float32, and round their tokens by themselves."""

from collections.abc import Mapping, Set
from dataclasses import replace

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.operations import Quantization, QuantizedSelected, SelectedLinear
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.quantization.weights import quantize_rows


def selected_layers_to_integers(
    graph: Graph, chosen: Set[str], quantizations: Mapping[str, Quantization]
) -> Graph:
    """The graph with the products that make the values `chosen` in integers."""
    nodes, weights = list(graph.nodes), dict(graph.weights)
    for index, node in enumerate(nodes):
        layer = node.operation
        if isinstance(layer, SelectedLinear) and node.output in chosen:
            names = f"{layer.weight}.integers", f"{layer.weight}.scale"
            matrices = weights[layer.weight]
            levels, weights[names[1]] = quantize_rows(matrices.flatten(0, 1))
            weights[names[0]] = levels.view(matrices.shape)
            layer = replace(layer, weight=names[0])
            operation = QuantizedSelected(layer, names[1], quantizations[node.inputs[0]])
            nodes[index] = replace(node, operation=operation)
    return eliminate_dead(replace(graph, nodes=tuple(nodes), weights=weights)) if chosen else graph
