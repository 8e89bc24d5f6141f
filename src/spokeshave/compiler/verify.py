"""The grammar of graphs, checked after every pass."""

from math import prod

import torch

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Convolution, Foreign, Linear
from spokeshave.compiler.reference import run_operation


class GraphError(Exception):
    """A graph that breaks the grammar: a fault of a pass, never of the user."""


def verify(graph: Graph) -> Graph:
    """Return the graph, or raise GraphError naming the node and what is wrong with it.

    Values must be made before they are used and once only; weights must exist; and every operation, run on tensors
    without data, must give the shape that its output declares.
    """
    made = set(graph.inputs)
    for node in graph.nodes:
        _check_names(graph, node, made)
        if not isinstance(node.operation, Foreign):
            _check_shape(graph, node)
        made.update(node.outputs)
    for name in graph.outputs:
        if name not in made and name not in graph.weights:
            raise GraphError(f"output {name!r} is never made")
    return graph


def _check_names(graph: Graph, node: Node, made: set[str]) -> None:
    for name in node.inputs:
        if name not in made:
            raise GraphError(f"{node.layer}: input {name!r} is used before it is made")
    for name in node.outputs:
        if name in made:
            raise GraphError(f"{node.layer}: output {name!r} is made twice")
        if name not in graph.values:
            raise GraphError(f"{node.layer}: output {name!r} has no declared shape")
    residual = isinstance(node.operation, Convolution | Linear) and node.operation.residual
    if isinstance(node.operation, Convolution | Linear) and len(node.inputs) != 1 + residual:
        raise GraphError(f"{node.layer}: {len(node.inputs)} inputs, {1 + residual} expected")


def _check_shape(graph: Graph, node: Node) -> None:
    inputs = [torch.empty(graph.shape(name), device="meta") for name in node.inputs]
    weights = _OnMeta(graph)
    declared = tuple(graph.shape(node.output))
    try:
        (result,) = run_operation(node.operation, inputs, weights, declared, {})
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        raise GraphError(f"{node.layer}: {type(node.operation).__name__} cannot run: {error}") from error
    if tuple(result.shape) != declared or prod(declared) != result.numel():
        raise GraphError(f"{node.layer}: gives {tuple(result.shape)}, declared is {declared}")


class _OnMeta(dict):
    """The graph's weights without their data."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._weights = graph.weights

    def __missing__(self, name: str) -> torch.Tensor:
        return self._weights[name].to("meta")
