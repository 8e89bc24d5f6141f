"""A graph in whole numbers, from the choices of a form: scales, codes, multipliers and shifts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.integers.grids import averaged
from spokeshave.compiler.integers.plan import MOVES, Division, goes_on_whole
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.weights import WholeWeight
from spokeshave.compiler.operations import (
    Activate,
    Activation,
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
    QuantizedSum,
    Rescale,
    Steps,
)
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.quantization.arithmetic import clamping, dequantize, quantize
from spokeshave.compiler.quantization.rescaling import multipliers, shifts
from spokeshave.compiler.verify import verify
from spokeshave.errors import SpokeshaveError

SUFFIX = "whole"
HEADROOM = 20  # of TensorFlow Lite's sums of bytes


@dataclass(frozen=True)
class Choices:
    """Quantizations by value, weights by name, and biases (by name) that are to stand for the graph's own."""

    grids: Mapping[str, Quantization]
    weights: Mapping[str, WholeWeight]
    biases: Mapping[str, Tensor] = field(default_factory=dict)


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
            operation = self._operation(node)
        except SpokeshaveError as reason:
            raise SpokeshaveError(f"{node.layer}: {reason}") from reason
        read = tuple(self._read(name, node.layer) for name in node.inputs)
        made = node.output if _makes_float(operation) else self._declare(node.output)
        self.only_whole |= {node.output} - {made}
        self.nodes.append(Node(node.layer, operation, read, (made,)))

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
            return self._sum(inputs, signs, output, operation.activation)
        if isinstance(operation, Activate):
            if clamping(operation.activation) is not None:
                return self._sum(inputs, (1.0,), output, operation.activation)
            return self._lookup(node, operation, inputs[0], output)
        if isinstance(operation, Mean) or (isinstance(operation, Pool) and operation.kind == "average"):
            factor = inputs[0].scale / (averaged(self.graph, node) * output.scale)
            return QuantizedMean(
                operation, inputs[0], output, *self._factors([factor])[0], self.form.rounding
            )
        if isinstance(operation, Pool):
            return QuantizedPool(operation, output)
        assert isinstance(operation, MOVES)
        return replace(operation, value=output.zero_point) if isinstance(operation, Pad) else operation

    def _sum(
        self,
        inputs: tuple[Quantization, ...],
        signs: tuple[float, ...],
        output: Quantization,
        activation: Activation | None,
    ) -> QuantizedSum:
        if self.form.rounding == "twice":
            return _in_steps(inputs, signs, output, activation)
        found = self._factors([of.scale / output.scale for of in inputs])
        numbers = tuple(sign * number for sign, (number, _) in zip(signs, found, strict=True))
        return QuantizedSum(inputs, numbers, output, found[0][1], activation)

    def _factors(self, factors: list[float]) -> list[tuple[float, int | None]]:
        """Each factor as a multiplier and the shift that all share; without a shift as it is."""
        if self.form.rescale == "float":
            return [(factor, None) for factor in factors]
        first = torch.tensor(factors[:1], dtype=torch.float64)
        number, shift, other = (
            int(part) for part in self._numbers(first, factors[1] if factors[1:] else None)
        )
        both: list[tuple[float, int | None]] = [(number, shift), (other, shift)]
        return both[: len(factors)]

    def _numbers(self, factors: Tensor, residual: float | None) -> tuple[Tensor, Tensor, Tensor]:
        return (multipliers if self.form.rescale == "multiplier" else shifts)(factors, residual)

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
        is_whole = goes_on_whole(self.graph, node, self.division) or (
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
        return replace(operation, rescale=self._rescale(node.output, operation, weight, layer.bias))

    def _float_bias(self, name: str | None) -> str | None:
        if name is None or name not in self.choices.biases:
            return name
        self.weights[f"{name} {SUFFIX}"] = self.choices.biases[name]
        return f"{name} {SUFFIX}"

    def _rescale(self, made: str, operation: Quantized, weight: WholeWeight, bias: str | None) -> Rescale:
        """Multipliers, shifts and biases of a layer's rows, entered among the weights."""
        units, residual = weight.scale * operation.input.scale, operation.residual
        parts: dict[str, Tensor] = {}
        if bias is not None:
            values = self.choices.biases.get(bias, self.graph.weights[bias]).detach()
            parts["bias"] = (values.double().flatten() / units + 0.5).floor().long()
        if operation.output is not None:
            joined = residual.scale / operation.output.scale if residual else None
            found = self._numbers(units / operation.output.scale, joined)
            parts |= dict(zip(("multiplier", "shift", "residual"), found, strict=True))
        else:
            parts |= {"multiplier": torch.ones_like(units).long(), "shift": torch.zeros_like(units).long()}
        parts = {name: tensor for name, tensor in parts.items() if name != "residual" or residual}
        names = {name: f"{made} {name}" for name in parts}
        self.weights |= {names[name]: tensor for name, tensor in parts.items()}
        return Rescale(
            names["multiplier"], names["shift"], names.get("bias"), names.get("residual"), self.form.rounding
        )


def _in_steps(
    inputs: tuple[Quantization, ...],
    signs: tuple[float, ...],
    output: Quantization,
    activation: Activation | None,
) -> QuantizedSum:
    """A sum whose inputs are brought to twice the larger scale first."""
    common = 2 * max(of.scale for of in inputs)
    factors = [of.scale / common for of in inputs] + [common / (output.scale * (1 << HEADROOM))]
    numbers, shift, _ = multipliers(torch.tensor(factors, dtype=torch.float64))
    *each, last = zip(numbers.tolist(), shift.tolist(), strict=True)
    signed = tuple(sign * number for sign, (number, _) in zip(signs, each, strict=True))
    steps = Steps(HEADROOM, tuple(shift for _, shift in each), *last)
    return QuantizedSum(inputs, signed, output, None, activation, steps)


def _makes_float(operation: Operation) -> bool:
    return isinstance(operation, Quantized) and operation.output is None
