"""Weights as whole numbers with a scale for each row: codes of a scheme, or rounded here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import frexp

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.signs import sums_before_signs
from spokeshave.compiler.operations import Convolution, Linear, Quantization, Recurrent
from spokeshave.compiler.operations.recurrent import UNIT_BITS
from spokeshave.compiler.quantization.arithmetic import LARGEST_WEIGHT
from spokeshave.compiler.quantization.gates import merged_biases
from spokeshave.compiler.quantization.weights import quantize_rows
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.whole_levels import whole_levels

SUFFIX = "whole"  # of the names of whole numbers, behind those of what they stand for


@dataclass(frozen=True)
class WholeWeight:
    """`levels`, int8 or int16 of the weight's shape, times `scale`, float64 `[rows]`."""

    levels: Tensor
    scale: Tensor


def whole_weights(
    graph: Graph, imported: Mapping[str, Tensor], schemes: Mapping[str, Scheme], form: IntegerForm
) -> dict[str, WholeWeight]:
    """The weights of all layers, recurrent ones too; `imported` holds them before batch norms were folded in.

    Raises SpokeshaveError for weights that do not lie in their scheme yet.
    """
    found: dict[str, WholeWeight] = {}
    for name, parameter in _matrices(graph):
        weight, source = graph.weights[name], imported.get(parameter)
        coded = None
        if parameter in schemes and source is not None and source.shape == weight.shape:
            coded = _member_levels(parameter, schemes[parameter], source.detach())
        found[name] = (
            rounded_weight(weight, form)
            if coded is None or source is None
            else _scaled(coded, source, weight)
        )
    return found


def _member_levels(parameter: str, scheme: Scheme, weight: Tensor) -> tuple[Tensor, Tensor] | None:
    coded = whole_levels(scheme, weight)
    if coded is not None and not scheme.contains(weight):
        raise SpokeshaveError(
            f"{parameter} does not lie in {scheme}: fit the network to its plan, or project the weight, before it is "
            "deployed"
        )
    return coded


def _matrices(graph: Graph) -> Iterator[tuple[str, str]]:
    """The weight of every layer, or both of a recurrent one, by its name in the graph and in the network."""
    for node in graph.nodes:
        layer = node.operation
        if isinstance(layer, Convolution | Linear):
            yield layer.weight, f"{node.layer}.weight"
        elif isinstance(layer, Recurrent):
            yield from ((name, name) for name in (layer.input_weight, layer.hidden_weight))


def rounded_weight(weight: Tensor, form: IntegerForm) -> WholeWeight:
    """A weight rounded to the form's bits, symmetric about 0; rows on a grid of their own keep it at 8 bits."""
    weight, most = weight.detach(), (1 << form.weight_bits - 1) - 1
    if form.scales == "arbitrary" and form.per == "row" and most == LARGEST_WEIGHT:
        levels, scale = quantize_rows(weight)
        return WholeWeight(levels, scale.double())
    largest = weight.double().flatten(1).abs().amax(1)
    largest = largest if form.per == "row" else largest.amax().expand(len(largest))
    scale = torch.where(largest > 0, largest / most, 1.0)
    if form.scales == "power_of_two":
        scale = torch.tensor([_next_power(value) for value in scale.tolist()], dtype=torch.float64)
    return at_scale(weight, scale, form.weight_bits)


def at_scale(weight: Tensor, scale: Tensor, bits: int) -> WholeWeight:
    """The nearest whole numbers of so many bits at a scale, float64 `[rows]`, halves up."""
    most = (1 << bits - 1) - 1
    units = weight.detach().double() / scale.view(-1, *[1] * (weight.dim() - 1))
    levels = (units + 0.5).floor().clamp(-most, most)
    return WholeWeight(levels.to(torch.int8 if bits <= 8 else torch.int16), scale)


def with_room_for_biases(
    graph: Graph,
    weights: Mapping[str, WholeWeight],
    grids: Mapping[str, Quantization],
    form: IntegerForm,
) -> dict[str, WholeWeight]:
    """The weights, but rows that are next to nothing beside their bias get a scale at which the bias fits the sums.

    What that rounds away is less than a 2^-30th of the bias (of accumulators with 32 bits). Biases before signs fit.
    """
    fitting, before_signs = dict(weights), sums_before_signs(graph)
    for node in graph.nodes:
        if node.outputs[0] in before_signs:
            continue
        for name, bias, scale in _biased(graph, node, grids):
            least = bias.detach().double().flatten().abs() / (scale * (1 << form.accumulator_bits - 2))
            fitting[name] = _at_least(graph.weights[name], fitting[name], least)
    return fitting


def _biased(
    graph: Graph, node: Node, grids: Mapping[str, Quantization]
) -> Iterator[tuple[str, Tensor, float]]:
    """A weight's name, its bias, and the scale of what it multiplies; no product reads a finer state than 16 bits."""
    layer = node.operation
    if isinstance(layer, Convolution | Linear) and layer.bias is not None and node.inputs[0] in grids:
        yield layer.weight, graph.weights[layer.bias], grids[node.inputs[0]].scale
    if isinstance(layer, Recurrent):
        of_input, of_state = merged_biases(layer, graph.weights)
        yield layer.input_weight, of_input, grids[node.inputs[0]].scale
        yield layer.hidden_weight, of_state, 2.0**-UNIT_BITS


def _at_least(weight: Tensor, found: WholeWeight, least: Tensor) -> WholeWeight:
    low = found.scale < least
    if not bool(low.any()):
        return found
    scale = torch.where(low, least, found.scale)
    rounded = at_scale(weight, scale, 8).levels.to(found.levels.dtype)
    return WholeWeight(torch.where(low.view(-1, *[1] * (weight.dim() - 1)), rounded, found.levels), scale)


def _next_power(value: float) -> float:
    """The smallest power of two that is not below a value."""
    fraction, exponent = frexp(value)
    return 2.0 ** (exponent - 1 if fraction == 0.5 else exponent)


def _scaled(coded: tuple[Tensor, Tensor], source: Tensor, weight: Tensor) -> WholeWeight:
    """Codes with what a batch norm multiplied each row by in their scales."""
    levels, scale = coded
    before, after = source.detach().double().flatten(1), weight.detach().double().flatten(1)
    largest = before.abs().argmax(1, keepdim=True)
    before, after = before.gather(1, largest)[:, 0], after.gather(1, largest)[:, 0]
    ratio = torch.where(before != 0, after / torch.where(before != 0, before, 1.0), 1.0)
    sign = torch.where(ratio < 0, -1, 1).to(levels.dtype).view(-1, *[1] * (levels.dim() - 1))
    small = int(levels.abs().max()) <= LARGEST_WEIGHT
    return WholeWeight((levels * sign).to(torch.int8 if small else torch.int16), scale * ratio.abs())
