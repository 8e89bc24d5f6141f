"""A graph in whole numbers, from the choices of a form: scales, codes, multipliers and shifts."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.integers.attention import whole_attention
from spokeshave.compiler.integers.choices import Choices
from spokeshave.compiler.integers.grids import averaged
from spokeshave.compiler.integers.plan import MOVES, Division, goes_on_whole
from spokeshave.compiler.integers.recurrent import rounding_recurrent, whole_recurrent
from spokeshave.compiler.integers.rescale import as_numbers, rescaled_rows, sums_for_signs, whole_sum
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.signs import sums_before_signs
from spokeshave.compiler.integers.weights import SUFFIX
from spokeshave.compiler.operations import (
    Activate,
    Attention,
    Binary,
    Convolution,
    Dequantize,
    Linear,
    Lookup,
    Mean,
    Operation,
    Pad,
    Pool,
    Quantization,
    Quantize,
    Quantized,
    QuantizedMean,
    QuantizedPool,
    Recurrent,
)
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.quantization.arithmetic import clamping, dequantize, quantize
from spokeshave.compiler.verify import verify
from spokeshave.errors import SpokeshaveError


def in_whole_numbers(graph: Graph, division: Division, choices: Choices, form: IntegerForm) -> Graph:
    """The graph with everything in whole numbers that `division` says; raises SpokeshaveError for impossible scales."""
    conversion = _Conversion(graph, division, choices, form)
    for node in graph.nodes:
        conversion.add(node)
    conversion.give_back(graph.outputs)
    values, weights = dict(graph.values) | conversion.values, dict(graph.weights) | conversion.weights
    return verify(
        eliminate_dead(replace(graph, nodes=tuple(conversion.nodes), values=values, weights=weights))
    )


@dataclass
class _Conversion:
    """The nodes so far, which values exist as whole numbers, and which of these only so."""

    graph: Graph
    division: Division
    choices: Choices
    form: IntegerForm
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    only_whole: set[str] = field(default_factory=set)

    def add(self, node: Node) -> None:
        """The node, with the conversions that it needs before it."""
        if node.outputs[0] not in self.division.whole:
            self.give_back(node.inputs, node.layer)
            self.nodes.append(node)
            return
        try:
            if isinstance(node.operation, Recurrent):
                self._add_recurrent(node, node.operation)
                return
            if isinstance(node.operation, Attention):
                self._add_attention(node, node.operation)
                return
            operation = self._operation(node)
        except SpokeshaveError as reason:
            raise SpokeshaveError(f"{node.layer}: {reason}") from reason
        read = tuple(self._read(name, node.layer) for name in node.inputs)
        made = node.output if _makes_float(operation) else self._declare(node.output)
        self.only_whole |= {node.output} - {made}
        self.nodes.append(Node(node.layer, operation, read, (made,)))

    def _add_recurrent(self, node: Node, layer: Recurrent) -> None:
        """A recurrent layer, which reads float32 steps where it rounds them by itself."""
        operation: Operation
        if self.form.rescale == "float":
            operation, weights = rounding_recurrent(self.graph, node, layer, self.choices, self.form)
            self.give_back(node.inputs, node.layer)
            read, made = node.inputs, node.outputs
        else:
            goes_on = tuple(goes_on_whole(self.graph, name, self.division) for name in node.outputs[:2])
            operation, weights = whole_recurrent(self.graph, node, layer, goes_on, self.choices, self.form)
            self.give_back(node.inputs[1:], node.layer)
            read = (self._read(node.inputs[0], node.layer), *node.inputs[1:])
            leaving = zip(node.outputs[:2], goes_on, strict=True)
            made = (*(self._declare(name) if whole else name for name, whole in leaving), *node.outputs[2:])
        self.weights |= weights
        self.only_whole |= set(node.outputs) - set(made)
        self.nodes.append(Node(node.layer, operation, read, made))

    def _add_attention(self, node: Node, attention: Attention) -> None:
        """Attention, whose masks stay float32."""
        levels = tuple(self.choices.grids[name] for name in node.inputs[:3])
        operation = whole_attention(attention, levels, self.choices.grids[node.output], self.form)
        self.give_back(node.inputs[3:], node.layer)
        read = (*(self._read(name, node.layer) for name in node.inputs[:3]), *node.inputs[3:])
        self.only_whole.add(node.output)
        self.nodes.append(Node(node.layer, operation, read, (self._declare(node.output),)))

    def give_back(self, names: Iterable[str], layer: str = "") -> None:
        """Make float32 of those values that are only whole numbers."""
        for name in dict.fromkeys(names):
            if name in self.only_whole:
                self.only_whole.remove(name)
                conversion = Dequantize(self.choices.grids[name])
                self.nodes.append(Node(layer, conversion, (f"{name} {SUFFIX}",), (name,)))

    def _read(self, name: str, layer: str) -> str:
        if name not in self.whole:
            made = self._declare(name)
            self.nodes.append(Node(layer, Quantize(self.choices.grids[name]), (name,), (made,)))
        return f"{name} {SUFFIX}"

    def _declare(self, name: str) -> str:
        self.whole.add(name)
        made = f"{name} {SUFFIX}"
        self.values[made] = Value(made, self.graph.shape(name), self.choices.grids[name].dtype)
        return made

    def _operation(self, node: Node) -> Operation:
        operation = node.operation
        inputs = tuple(self.choices.grids[name] for name in node.inputs)
        output = self.choices.grids[node.output]
        if isinstance(operation, Convolution | Linear):
            return self._layer(node, operation, inputs, output)
        if isinstance(operation, Binary):
            signs = (1.0, 1.0 if operation.kind == "add" else -1.0)
            return whole_sum(inputs, signs, output, operation.activation, self.form)
        if isinstance(operation, Activate):
            if clamping(operation.activation) is not None:
                return whole_sum(inputs, (1.0,), output, operation.activation, self.form)
            return self._lookup(node, operation, inputs[0], output)
        if isinstance(operation, Mean) or (isinstance(operation, Pool) and operation.kind == "average"):
            factor = inputs[0].scale / (averaged(self.graph, node) * output.scale)
            (number,) = as_numbers([factor], self.form)
            return QuantizedMean(operation, inputs[0], output, *number, self.form.rounding)
        if isinstance(operation, Pool):
            return QuantizedPool(operation, output)
        assert isinstance(operation, MOVES)
        if isinstance(operation, Pad):
            return replace(operation, value=int(quantize(torch.tensor(float(operation.value)), output)))
        return operation

    def _lookup(self, node: Node, operation: Activate, of: Quantization, output: Quantization) -> Lookup:
        levels = torch.arange(of.low, of.high + 1)
        real = activate(operation.activation, dequantize(levels, of))
        name = f"{node.output} table"
        self.weights[name] = quantize(real, output)
        return Lookup(name, -of.low, 0, output)

    def _layer(
        self, node: Node, layer: Convolution | Linear, inputs: tuple[Quantization, ...], output: Quantization
    ) -> Quantized:
        weight = self.choices.weights[layer.weight]
        names = f"{layer.weight} {SUFFIX}", f"{layer.weight} scale"
        self.weights |= {names[0]: weight.levels, names[1]: weight.scale.float()}
        residual = inputs[1] if layer.residual else None
        of_floats = self.form.rescale == "float"
        is_whole = goes_on_whole(self.graph, node.output, self.division) or (
            not of_floats and bool(layer.residual or layer.activation)
        )
        operation = Quantized(
            replace(layer, weight=names[0], bias=self._float_bias(layer.bias) if of_floats else None),
            names[1],
            inputs[0],
            residual,
            output if is_whole else None,
        )
        if of_floats:
            return operation
        bias = None if layer.bias is None else self._bias(layer.bias)
        rows = sums_for_signs if node.output in sums_before_signs(self.graph) else rescaled_rows
        rescale, parts = rows(node.output, operation, weight, bias, self.form)
        self.weights |= parts
        return replace(operation, rescale=rescale)

    def _bias(self, name: str) -> Tensor:
        return self.choices.biases.get(name, self.graph.weights[name])

    def _float_bias(self, name: str | None) -> str | None:
        if name is None or name not in self.choices.biases:
            return name
        self.weights[f"{name} {SUFFIX}"] = self.choices.biases[name]
        return f"{name} {SUFFIX}"


def _makes_float(operation: Operation) -> bool:
    return isinstance(operation, Quantized) and operation.output is None
