"""What passes share: who makes a value, who reads it, and graphs with some nodes replaced."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from spokeshave.compiler.graph import Graph, Node


def producers(graph: Graph) -> dict[str, Node]:
    """The node that makes each value."""
    return {name: node for node in graph.nodes for name in node.outputs}


def uses(graph: Graph) -> dict[str, int]:
    """How often each value is read; being an output of the graph counts as well."""
    counts = dict.fromkeys(graph.values, 0)
    for name in (*graph.outputs, *(name for node in graph.nodes for name in node.inputs)):
        counts[name] = counts.get(name, 0) + 1
    return counts


def with_nodes(graph: Graph, nodes: Iterable[Node], weights: Mapping[str, Tensor] | None = None) -> Graph:
    """The graph with other nodes (and perhaps more weights)."""
    return replace(graph, nodes=tuple(nodes), weights={**graph.weights, **(weights or {})})
