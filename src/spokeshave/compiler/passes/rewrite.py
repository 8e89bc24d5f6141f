"""What passes share: how often a value is read, renaming what a node reads, and fusing two nodes into one."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Foreign, Operation


def uses(graph: Graph) -> dict[str, int]:
    """How often each value is read; being an output of the graph counts as well."""
    counts = dict.fromkeys(graph.values, 0)
    for name in (*graph.outputs, *(name for node in graph.nodes for name in node.inputs)):
        counts[name] = counts.get(name, 0) + 1
    return counts


def reading(node: Node, names: Mapping[str, str]) -> Node:
    """The node with other names for the values it reads; foreign arguments name them too."""
    if not any(name in names for name in node.inputs):
        return node
    operation = node.operation
    if isinstance(operation, Foreign):
        arguments = json.dumps(_renamed(json.loads(operation.arguments), names))
        operation = replace(operation, arguments=arguments)
    inputs = [names.get(name, name) for name in node.inputs]
    if isinstance(operation, Foreign):
        inputs = list(dict.fromkeys(inputs))
    return replace(node, operation=operation, inputs=tuple(inputs))


def _renamed(argument: Any, names: Mapping[str, str]) -> Any:
    if isinstance(argument, list):
        return [_renamed(entry, names) for entry in argument]
    if not isinstance(argument, dict):
        return argument
    return {
        key: names.get(entry, entry) if key == "value" and isinstance(entry, str) else _renamed(entry, names)
        for key, entry in argument.items()
    }


class Rewriting:
    """A graph in the making: nodes are kept or added, what they make and read is declared on the way."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.values = dict(graph.values)
        self.weights = dict(graph.weights)

    def maker(self, name: str, *kinds: type) -> Node | None:
        """The node of the old graph that makes a value, where its operation is of one of these kinds."""
        node = self.graph.maker(name)
        return node if node is not None and isinstance(node.operation, kinds) else None

    def add(self, after: Node, operation: Operation, inputs: Sequence[str], shape: Sequence[int]) -> str:
        """Append an operation of the layer of a node; returns the name of what it makes."""
        name, count = f"{after.outputs[0]} {type(operation).__name__.lower()}", 0
        while f"{name}{count or ''}" in self.values:
            count += 1
        value = Value(f"{name}{count or ''}", tuple(shape))
        self.values[value.name] = value
        self.nodes.append(Node(after.layer, operation, tuple(inputs), (value.name,)))
        return value.name

    def finished(self) -> Graph:
        """The graph with the new nodes."""
        return replace(self.graph, nodes=tuple(self.nodes), values=self.values, weights=self.weights)


@dataclass(frozen=True)
class Fusion:
    """One node in place of two, and the weights it needs besides the graph's."""

    node: Node
    weights: Mapping[str, Tensor] = field(default_factory=dict)


Rule = Callable[[Graph, Node, Node], Fusion | None]


def fuse_pairs(graph: Graph, rule: Rule) -> Graph:
    """Let nodes take in the maker of one of their inputs, wherever nothing else reads it and `rule` allows.

    `rule(graph, maker, reader)` gives the fusion or None; the maker that comes last is asked first. The fused node
    stands where the reader stood, so that all it reads is made before.
    """
    weights = dict(graph.weights)
    graph = replace(graph, weights=weights)
    read = uses(graph)
    kept: dict[str, Node] = {}  # by first output, in order
    position: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        makers = [kept[name] for name in node.inputs if name in kept and read[name] == 1]
        makers.sort(key=lambda maker: -position[maker.outputs[0]])
        found = ((maker, rule(graph, maker, node)) for maker in makers)
        for maker, fusion in found:
            if fusion is not None:
                del kept[maker.outputs[0]]
                weights.update(fusion.weights)
                node = fusion.node
                break
        kept[node.outputs[0]] = node
        position[node.outputs[0]] = index
    return replace(graph, nodes=tuple(kept.values()))
