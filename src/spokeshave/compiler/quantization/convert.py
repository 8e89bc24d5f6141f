"""Turns chosen layers of a graph into a lower precision, with as few conversions as that allows.

    conv -> relu -> conv        =>   conversion, layer (low output), layer, conversion back where float32 is read

A value that such a layer reads is made in low precision by the layer that makes it, if that one is chosen too; it is
converted back only for readers that are not. A residual is read as it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from torch import Tensor

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Convolution, Linear, Operation
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.verify import verify


class Form(Protocol):
    """How layers and values are done in one lower precision; values are named as in float32."""

    @property
    def dtype(self) -> str:
        """Element type of values."""
        ...

    @property
    def suffix(self) -> str:
        """What names of values and weights get behind them."""
        ...

    def narrow(self, value: str) -> Operation:
        """The conversion from float32."""
        ...

    def widen(self, value: str) -> Operation:
        """The conversion to float32."""
        ...

    def layer(
        self, node: Node, weight: str, residual: str | None, output: str | None
    ) -> tuple[Operation, dict[str, Tensor]]:
        """The layer and its weights, the first named `weight`; `residual` and `output` where they are low."""
        ...


def convert_layers(graph: Graph, chosen: frozenset[str], form: Form) -> Graph:
    """The graph with the layers that make the values `chosen` in a lower precision."""
    if not chosen.intersection(name for node in graph.nodes for name in node.outputs):
        return graph
    conversion = _Conversion(graph, chosen, form)
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
    """The nodes so far; which values exist in low precision, and which of these only so."""

    graph: Graph
    chosen: frozenset[str]
    form: Form
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    low: set[str] = field(default_factory=set)
    only_low: set[str] = field(default_factory=set)

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
        """Make float32 of those values that are only in low precision."""
        for name in dict.fromkeys(names):
            if name in self.only_low:
                self.only_low.remove(name)
                self.nodes.append(Node(layer, self.form.widen(name), (self._low(name),), (name,)))

    def _add_layer(self, node: Node) -> None:
        layer = node.operation
        assert isinstance(layer, Convolution | Linear)
        read, residual = [self._in_low(node.inputs[0], node.layer)], None
        for name in node.inputs[1:]:
            residual = name if name in self.wanted else None
            read.append(self._in_low(name, node.layer) if residual else name)
        output = node.output if node.output in self.wanted else None
        operation, weights = self.form.layer(node, self._low(layer.weight), residual, output)
        self.weights |= weights
        made = self._declare(node.output) if output else node.output
        self.only_low |= {node.output} if output else set()
        self.nodes.append(Node(node.layer, operation, tuple(read), (made,)))

    def _in_low(self, name: str, layer: str) -> str:
        if name not in self.low:
            made = self._declare(name)
            self.nodes.append(Node(layer, self.form.narrow(name), (name,), (made,)))
        return self._low(name)

    def _declare(self, name: str) -> str:
        self.low.add(name)
        low = self._low(name)
        self.values[low] = Value(low, self.graph.shape(name), self.form.dtype)
        return low

    def _low(self, name: str) -> str:
        return f"{name}.{self.form.suffix}"
