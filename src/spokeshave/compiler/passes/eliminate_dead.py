"""Nodes, values and weights that no output needs are dropped."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Foreign

WEIGHT_FIELDS = (
    *("weight", "bias", "scale", "shift", "constant"),
    *("mask", "indices", "yes", "no"),
    *("input_weight", "hidden_weight", "input_bias", "hidden_bias", "hidden_state", "cell_state"),
    *("weight_scale", "input_scale", "hidden_scale"),
    *("multiplier", "residual", "table", "gamma", "beta"),
)
PARTS = (  # of an operation, that name weights as well
    *("layer", "attention", "rescale", "inverse", "power", "near", "far"),
    *("input_product", "state_product", "sigmoid", "tanh", "cell_tanh"),
)


def eliminate_dead(graph: Graph) -> Graph:
    """Keep what the outputs depend on; the inputs stay."""
    needed, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    nodes = tuple(reversed(kept))
    alive = needed.union(graph.inputs, *(node.outputs for node in nodes))
    values = {name: value for name, value in graph.values.items() if name in alive}
    named = set(graph.outputs).union(*(weight_names(node, graph) for node in nodes))
    weights = {name: tensor for name, tensor in graph.weights.items() if name in named}
    return replace(graph, nodes=nodes, values=values, weights=weights)


def weight_names(node: Node, graph: Graph) -> set[str]:
    """Names of the weights that a node reads."""
    if isinstance(node.operation, Foreign):
        return {name for name in graph.weights if json.dumps({"weight": name}) in node.operation.arguments}
    return set(_named(node.operation))


def _named(operation: Any) -> Iterator[str]:
    """The weights that an operation or one of its parts names."""
    names = (getattr(operation, field, None) for field in WEIGHT_FIELDS)
    yield from (name for name in names if isinstance(name, str))
    for part in PARTS:
        if getattr(operation, part, None) is not None:
            yield from _named(getattr(operation, part))
