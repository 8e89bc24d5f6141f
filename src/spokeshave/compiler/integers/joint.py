"""Joint quantization: the scales of a module's weight, bias and output together, by the error of what it makes.

Dataflow-based joint quantization (arXiv 1901.02064). All scales are powers of two, so sums come back to levels by
shifts; a module is a layer with its activation and its residual, quantized once, at its border. Modules are taken in
the order of the data, each fed with what the integers before it make, and for each the candidates are all combinations
of the scale that holds everything and of a few smaller ones, which clip.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.integers.batched import batch_values, run_node
from spokeshave.compiler.integers.choices import Choices
from spokeshave.compiler.integers.convert import in_whole_numbers
from spokeshave.compiler.integers.grids import own_factor, powers_of_two, sharing
from spokeshave.compiler.integers.network import (
    WholeNetwork,
    batched,
    check_varied,
    import_batch_first,
    stayed_float,
)
from spokeshave.compiler.integers.plan import Division, divide, goes_on_whole, modules
from spokeshave.compiler.integers.ranges import check_accumulators
from spokeshave.compiler.integers.recurrent import memories
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.weights import WholeWeight, at_scale, rounded_weight
from spokeshave.compiler.operations import Convolution, Linear, Quantization, Quantized, Recurrent
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.quantization.executor import integer_sums
from spokeshave.errors import SpokeshaveError


@dataclass(frozen=True)
class JointSearch:
    """What is searched: `clipped_bits` smaller scales besides the one that holds everything; bits of a bias.

    Without `bias_bits` a bias has the scale of the sums, and is not searched for. `samples` of the calibration data are
    looked at.
    """

    clipped_bits: int = 4
    bias_bits: int | None = 8
    samples: int = 32

    def __post_init__(self) -> None:
        for name, least in (("clipped_bits", 0), ("samples", 1)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise SpokeshaveError(f"{name} must be a whole number of at least {least}")
        if self.bias_bits is not None and not (type(self.bias_bits) is int and 2 <= self.bias_bits <= 16):
            raise SpokeshaveError(f"bias_bits must be from 2 to 16, or none, not {self.bias_bits!r}")


def joint_network(
    network: Any,
    example: Tensor | tuple[Any, ...],
    calibration: Iterable[Any],
    form: IntegerForm,
    search: JointSearch | None = None,
) -> WholeNetwork:
    """A network in whole numbers whose scales were searched for together; see `whole_network`.

    Raises SpokeshaveError for a form that does not rescale by shifts alone.
    """
    if form.rescale != "shift":
        raise SpokeshaveError("joint quantization is for rescale='shift'")
    search = search or JointSearch()
    imported = import_batch_first(network, example)
    graph = modules(optimise(imported.graph), form)
    division = divide(graph, form)
    batches = batched(calibration, search.samples)
    check_varied(graph, batches)
    inputs = [torch.cat(column) for column in zip(*batches, strict=True)]
    with torch.inference_mode():
        found = _Search(graph, division, form, search, batch_values(graph, inputs))
        choices = found.choices(inputs)
    whole = in_whole_numbers(graph, division, choices, form)
    check_accumulators(whole, form.accumulator_bits)
    return WholeNetwork(whole, imported.structure.to_json(), stayed_float(graph, division))


@dataclass
class _Search:
    """What was chosen so far, and what the integers make of the samples, as real numbers.

    `factors` is what a value's scale holds besides a power of two; `shared` has the scales that several values must
    have.
    """

    graph: Graph
    division: Division
    form: IntegerForm
    search: JointSearch
    floats: dict[str, Tensor]
    made: dict[str, Tensor] = field(default_factory=dict)
    grids: dict[str, Quantization] = field(default_factory=dict)
    weights: dict[str, WholeWeight] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)
    factors: dict[str, float] = field(default_factory=dict)
    shared: dict[str, Quantization] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kin = sharing(self.graph, self.division)

    def choices(self, inputs: Sequence[Tensor]) -> Choices:
        """Go through the graph once."""
        self.made |= dict(zip(self.graph.inputs, inputs, strict=True))
        for node in self.graph.nodes:
            if node.outputs[0] in self.division.whole:
                self._take(node)
            else:
                self.made.update(zip(node.outputs, run_node(self.graph, node, self.made), strict=True))
        seen = self.floats | memories(self.graph, self.floats)
        largest = {name: float(value.abs().max()) for name, value in seen.items()}
        return Choices(self.grids, self.weights, self.biases, largest)

    def _take(self, node: Node) -> None:
        for name in node.inputs:
            if name not in self.grids:  # float32 until here
                self.factors[name] = 1.0
                self._settle(name, self.made[name])
        if isinstance(node.operation, Recurrent):
            self._recurrent(node, node.operation)
            return
        self.factors[node.output] = own_factor(self.graph, node, self.factors[node.inputs[0]])
        if isinstance(node.operation, Convolution | Linear):
            self._module(node, node.operation)
        else:
            self._settle(node.output, run_node(self.graph, node, self.made)[0])

    def _recurrent(self, node: Node, layer: Recurrent) -> None:
        """Weights that hold everything: its gates have scales of their own."""
        for name in (layer.input_weight, layer.hidden_weight):
            self.weights[name] = rounded_weight(self.graph.weights[name], self.form)
        for name, values in zip(node.outputs, run_node(self.graph, node, self.made), strict=True):
            self.factors[name] = 1.0
            self._settle(name, values)

    def _settle(self, name: str, values: Tensor) -> None:
        """The best quantization of real numbers by themselves."""
        errors = {grid: _error(self.floats[name], _rounded(values, grid)) for grid in self._candidates(name)}
        self._choose(name, min(errors, key=lambda grid: errors[grid]), values)

    def _choose(self, name: str, grid: Quantization, values: Tensor) -> None:
        self.grids[name] = self.shared.setdefault(self.kin.get(name, name), grid)
        self.made[name] = _rounded(values, self.grids[name])

    def _candidates(self, name: str) -> list[Quantization]:
        known = self.shared.get(self.kin.get(name, name))
        if known is not None:
            return [known]
        low, high = (float(bound) for bound in torch.aminmax(self.floats[name]))
        return powers_of_two((low, high), self.form, self.factors[name], self.search.clipped_bits)

    def _module(self, node: Node, layer: Convolution | Linear) -> None:
        """All combinations of the scales of weight, bias and output."""
        wanted, grids = self.floats[node.output], self._candidates(node.output)
        rounds = goes_on_whole(self.graph, node.output, self.division) or layer.residual or layer.activation
        best: tuple[float, WholeWeight, Tensor | None, Quantization] | None = None
        for weight in self._weights(layer):
            sums = self._sums(node, layer, weight)
            for bias in self._biases(layer, weight.scale[0].item() * self.grids[node.inputs[0]].scale):
                active = self._active(node, layer, sums, bias)
                for grid in grids if rounds else grids[:1]:
                    error = _error(wanted, _rounded(active, grid) if rounds else active)
                    if best is None or error < best[0]:
                        best = error, weight, bias, grid
        assert best is not None
        _, self.weights[layer.weight], bias, grid = best
        if layer.bias is not None and bias is not None:
            self.biases[layer.bias] = bias
        sums = self._sums(node, layer, self.weights[layer.weight])
        self._choose(node.output, grid, self._active(node, layer, sums, bias))
        if not rounds:
            self.made[node.output] = self._active(node, layer, sums, bias).float()

    def _weights(self, layer: Convolution | Linear) -> list[WholeWeight]:
        weight, bits = self.graph.weights[layer.weight], self.form.weight_bits
        first = rounded_weight(weight, self.form)
        smaller = range(1, self.search.clipped_bits + 1)
        return [first, *(at_scale(weight, first.scale / 2**clipped, bits) for clipped in smaller)]

    def _biases(self, layer: Convolution | Linear, unit: float) -> list[Tensor | None]:
        """Biases at candidate scales, each brought to the scale of the sums, float64."""
        if layer.bias is None:
            return [None]
        exact = self.graph.weights[layer.bias].detach().double().flatten()
        if self.search.bias_bits is None:
            return [(exact / unit + 0.5).floor() * unit]
        form = IntegerForm(self.search.bias_bits, per="tensor", scales="power_of_two")
        first = rounded_weight((exact / unit)[None], form).scale
        coded = [
            at_scale((exact / unit)[None], first / 2**clipped, form.weight_bits)
            for clipped in range(self.search.clipped_bits + 1)
        ]
        return [((each.levels[0] * each.scale + 0.5).floor() * unit) for each in coded]

    def _sums(self, node: Node, layer: Convolution | Linear, weight: WholeWeight) -> Tensor:
        """What a layer makes of its input before anything is added: whole numbers times their scale."""
        of = self.grids[node.inputs[0]]
        levels = (self.made[node.inputs[0]] / of.scale).round()
        operation = Quantized(layer, "", of)
        return integer_sums(operation, levels, weight.levels).double() * (weight.scale[0].item() * of.scale)

    def _active(self, node: Node, layer: Convolution | Linear, sums: Tensor, bias: Tensor | None) -> Tensor:
        rows = (-1, 1, 1) if isinstance(layer, Convolution) else (-1,)
        total = sums if bias is None else sums + bias.view(rows)
        return activate(layer.activation, total + self.made[node.inputs[1]] if layer.residual else total)


def _rounded(values: Tensor, grid: Quantization) -> Tensor:
    """Real numbers as the levels of a quantization stand for them, halves up; float64, or float32 where it was."""
    return (values / grid.scale + 0.5).floor().clamp(grid.low, grid.high) * grid.scale


def _error(wanted: Tensor, made: Tensor) -> float:
    return float((made - wanted).square().sum())
