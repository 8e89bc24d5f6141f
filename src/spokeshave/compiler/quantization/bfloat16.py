"""Weights that stream past one vector at a time, rounded to bfloat16: half the bytes, computed with in float32."""

from dataclasses import dataclass, replace

import torch

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Convolution, Linear, Recurrent
from spokeshave.compiler.quantization.record import LayerPrecision

MANY_LANES = "over many lanes float32 is computed as fast"


@dataclass(frozen=True)
class BFloat16:
    """Weights of recurrent layers, and of linear layers over one vector, in bfloat16."""


def round_weights(graph: Graph) -> tuple[Graph, tuple[LayerPrecision, ...]]:
    """The graph with those weights rounded, under the same names, and what became of every layer."""
    weights, records = dict(graph.weights), []
    for node in graph.nodes:
        if not isinstance(node.operation, Convolution | Linear | Recurrent):
            continue
        names = _streamed(graph, node)
        for name in names:
            weights[name] = weights[name].to(torch.bfloat16).float()
        records.append(
            LayerPrecision(node.layer, "bfloat16")
            if names
            else LayerPrecision(node.layer, "float32", MANY_LANES)
        )
    return replace(graph, weights=weights), tuple(records)


def _streamed(graph: Graph, node: Node) -> tuple[str, ...]:
    operation = node.operation
    if isinstance(operation, Recurrent):
        return operation.input_weight, operation.hidden_weight
    single = isinstance(operation, Linear) and len(graph.shape(node.output)) == 2
    return (operation.weight,) if isinstance(operation, Linear) and single else ()
