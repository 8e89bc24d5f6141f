"""Turns chosen layers of a graph into integer layers, with as few conversions as that allows.

    conv -> relu -> conv        =>   Quantize, Quantized (uint8 out), Quantized, Dequantize where float32 is read

A value that an integer layer reads is made uint8 by the layer that makes it, if that one is chosen too; it is converted
back only for readers that have no integer kernel. A residual is read as it is, uint8 or float32.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from spokeshave.compiler.emit.layouts import choose_layouts
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.layout import Planes
from spokeshave.compiler.operations import (
    Convolution,
    Dequantize,
    Linear,
    Quantization,
    Quantize,
    Quantized,
)
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.quantization.arithmetic import MOST_INPUTS
from spokeshave.compiler.quantization.weights import quantize_rows
from spokeshave.compiler.verify import verify


def integer_layers(graph: Graph, isa: InstructionSet) -> dict[str, str | None]:
    """The layers of a segment by the value they make: None where they can be integers, else the reason why not."""
    layouts = choose_layouts(graph, isa)
    reasons: dict[str, str | None] = {}
    for node in graph.nodes:
        if isinstance(node.operation, Convolution | Linear):
            planar = all(isinstance(layouts[name], Planes) for name in (*node.inputs, node.output))
            weight = graph.weights[node.operation.weight]
            few = weight[0].numel() <= MOST_INPUTS
            reasons[node.output] = (
                "it reads or makes a single position"
                if not planar
                else None
                if few
                else "its sums overflow int32"
            )
    return reasons


def to_integers(graph: Graph, chosen: frozenset[str], quantizations: Mapping[str, Quantization]) -> Graph:
    """The graph with the layers that make the values `chosen` in integers; `quantizations` by value."""
    if not chosen.intersection(name for node in graph.nodes for name in node.outputs):
        return graph
    conversion = _Conversion(graph, chosen, quantizations)
    for node in graph.nodes:
        conversion.add(node)
    conversion.give_back(graph.outputs)
    values = dict(graph.values) | conversion.values
    weights = dict(graph.weights) | conversion.weights
    return verify(
        eliminate_dead(replace(graph, nodes=tuple(conversion.nodes), values=values, weights=weights))
    )


@dataclass
class _Conversion:
    """The nodes so far; which values exist as uint8, and which of these as float32 as well."""

    graph: Graph
    chosen: frozenset[str]
    quantizations: Mapping[str, Quantization]
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    integers: set[str] = field(default_factory=set)
    only_integers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.wanted = {node.inputs[0] for node in self.graph.nodes if self._is_chosen(node)}

    def _is_chosen(self, node: Node) -> bool:
        return bool(self.chosen.intersection(node.outputs))

    def add(self, node: Node) -> None:
        """The node, and the conversions that it needs before it."""
        if self._is_chosen(node):
            self._add_layer(node)
        else:
            self.give_back(node.inputs, node.layer)
            self.nodes.append(node)

    def give_back(self, names: Iterable[str], layer: str = "") -> None:
        """Make float32 of those values that are only uint8."""
        for name in dict.fromkeys(names):
            if name in self.only_integers:
                self.only_integers.remove(name)
                self.nodes.append(
                    Node(layer, Dequantize(self.quantizations[name]), (integer(name),), (name,))
                )

    def _add_layer(self, node: Node) -> None:
        layer = node.operation
        assert isinstance(layer, Convolution | Linear)
        weight, scale = quantize_rows(self.graph.weights[layer.weight])
        names = integer(layer.weight), f"{layer.weight}.scale"
        self.weights |= dict(zip(names, (weight, scale), strict=True))
        read = [self._as_integers(node.inputs[0], node.layer)]
        residual = None
        for name in node.inputs[1:]:
            if name in self.wanted:
                residual = self.quantizations[name]
            read.append(self._as_integers(name, node.layer) if residual else name)
        output = self.quantizations[node.output] if node.output in self.wanted else None
        operation = Quantized(
            replace(layer, weight=names[0]), names[1], self.quantizations[node.inputs[0]], residual, output
        )
        made = self._declare(node.output) if output else node.output
        self.only_integers |= {node.output} if output else set()
        self.nodes.append(Node(node.layer, operation, tuple(read), (made,)))

    def _as_integers(self, name: str, layer: str) -> str:
        if name not in self.integers:
            made = self._declare(name)
            self.nodes.append(Node(layer, Quantize(self.quantizations[name]), (name,), (made,)))
        return integer(name)

    def _declare(self, name: str) -> str:
        self.integers.add(name)
        self.values[integer(name)] = Value(integer(name), self.graph.shape(name), "uint8")
        return integer(name)


def integer(name: str) -> str:
    """Name of a value's, or weight's, integers."""
    return f"{name}.integers"
