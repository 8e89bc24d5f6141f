"""Recurrent layers of whole networks: whole products, and gates in float32 or by tables, as the form has it.

Where sums are rescaled by float32 numbers, gates and states are float32 and only the products whole
(`QuantizedRecurrent`, as in the compiler's int8). Otherwise no step holds a floating-point number (`WholeRecurrent`):
16 bits before the gates, tables of 12 bits for them, and states of 16 bits, of which the next product reads as many as
a value has.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.integers.choices import Choices
from spokeshave.compiler.integers.rescale import rescaled_rows, whole_sum
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.weights import SUFFIX
from spokeshave.compiler.operations import (
    Linear,
    Quantization,
    Quantized,
    QuantizedRecurrent,
    QuantizedSum,
    Recurrent,
    WholeRecurrent,
)
from spokeshave.compiler.operations.recurrent import BEFORE_GATES, STATE_BITS
from spokeshave.compiler.quantization.executor import first_states
from spokeshave.compiler.quantization.gates import lstm_cell, merged_biases
from spokeshave.compiler.quantization.whole_recurrent import gate_table, reads_table, state_of

SIGMOID, TANH = "sigmoid of gates", "tanh of gates"  # tables that all layers share
Weights = dict[str, Tensor]


def rounding_recurrent(
    graph: Graph, node: Node, layer: Recurrent, choices: Choices, form: IntegerForm
) -> tuple[QuantizedRecurrent, Weights]:
    """A layer that rounds its steps and its state by itself, gates in float32; and its weights."""
    whole, weights = _whole_weights(layer, choices)
    scales = _scale_name(layer.input_weight), _scale_name(layer.hidden_weight)
    largest = _largest(graph, node, choices, 0)
    state = _read_state(max(1.0, largest), form)
    return QuantizedRecurrent(whole, *scales, choices.grids[node.inputs[0]], state), weights


def whole_recurrent(
    graph: Graph,
    node: Node,
    layer: Recurrent,
    goes_on: tuple[bool, ...],
    choices: Choices,
    form: IntegerForm,
) -> tuple[WholeRecurrent, Weights]:
    """A layer in whole numbers to the end, and its weights; `goes_on`: whether sequence and last h leave as levels."""
    whole, weights = _whole_weights(layer, choices)
    whole = replace(whole, input_bias=None, hidden_bias=None)
    hidden = state_of(_largest(graph, node, choices, 0))
    bits = form.activation_bits
    narrow = _read_state(hidden.scale * (1 << STATE_BITS - 1), form, in_powers=True)
    biases = merged_biases(layer, graph.weights)
    products = []
    for name, of, bias in zip(
        (layer.input_weight, layer.hidden_weight),
        (choices.grids[node.inputs[0]], narrow),
        biases,
        strict=True,
    ):
        product = Quantized(Linear(_whole_name(name), None), _scale_name(name), of, output=BEFORE_GATES)
        added = bias if bool(bias.any()) else None
        rescale, parts = rescaled_rows(name, product, choices.weights[name], added, form)
        products.append(replace(product, rescale=rescale))
        weights |= parts
    once = replace(form, rounding="once")  # the other way has no room for sixteen bits
    left = [
        whole_sum((hidden,), (1.0,), choices.grids[name], None, once) if leaves else None
        for name, leaves in zip(node.outputs[:2], goes_on, strict=True)
    ]
    cell = state_of(_largest(graph, node, choices, 1)) if layer.kind == "lstm" else None
    weights |= {SIGMOID: gate_table(torch.sigmoid), TANH: gate_table(torch.tanh)}
    operation = WholeRecurrent(
        layer=whole,
        input_product=products[0],
        state_product=products[1],
        narrow=QuantizedSum((hidden,), (1,), narrow, STATE_BITS - bits),
        sigmoid=reads_table(SIGMOID, BEFORE_GATES),
        tanh=reads_table(TANH, BEFORE_GATES),
        hidden=hidden,
        outputs=(left[0], left[1]),
        cell=cell,
        cell_tanh=reads_table(TANH, cell) if cell else None,
    )
    return operation, weights


def each_product(graph: Graph) -> Iterator[Node]:
    """The nodes, but in a recurrent layer's place both of its products, by the names of their weights."""
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, QuantizedRecurrent | WholeRecurrent):
            for product in (operation.input_product, operation.state_product):
                yield replace(node, layer=product.weight.removesuffix(f" {SUFFIX}"), operation=product)
        else:
            yield node


def memories(graph: Graph, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What each LSTM of a float32 graph remembers in c, at every step `[N, T, H]`, by its last c's name."""
    found = {}
    for node in graph.nodes:
        layer = node.operation
        if isinstance(layer, Recurrent) and layer.kind == "lstm":
            found[node.outputs[2]] = _memory(layer, graph.weights, [values[name] for name in node.inputs])
    return found


def _memory(layer: Recurrent, weights: Mapping[str, Tensor], inputs: list[Tensor]) -> Tensor:
    sequence, *given = inputs
    outer, inner = merged_biases(layer, weights)
    projected = F.linear(sequence, weights[layer.input_weight].detach(), outer)
    hidden_weight = weights[layer.hidden_weight].detach()
    h, c = first_states(layer, weights, given, len(sequence), sequence.device)
    made = [c]
    steps = range(projected.shape[1])
    for step in reversed(steps) if layer.reverse else steps:
        h, c = lstm_cell(projected[:, step], F.linear(h, hidden_weight, inner), h, c)
        made.append(c)
    return torch.stack(made, 1)


def _whole_weights(layer: Recurrent, choices: Choices) -> tuple[Recurrent, Weights]:
    names = layer.input_weight, layer.hidden_weight
    weights = {_whole_name(name): choices.weights[name].levels for name in names}
    weights |= {_scale_name(name): choices.weights[name].scale.float() for name in names}
    whole = replace(layer, input_weight=_whole_name(names[0]), hidden_weight=_whole_name(names[1]))
    return whole, weights


def _largest(graph: Graph, node: Node, choices: Choices, state: int) -> float:
    """How far h (0) or c (1) of a layer gets from 0, as far as is known: gates bound h but at the start."""
    layer = node.operation
    assert isinstance(layer, Recurrent)
    names = [*node.inputs[1 + state : 2 + state], *(node.outputs[2:] if state else ())]
    constant = (layer.hidden_state, layer.cell_state)[state]
    start = [] if constant is None else [float(graph.weights[constant].abs().max())]
    return max([0.0, *start, *(choices.largest[name] for name in names)])


def _read_state(largest: float, form: IntegerForm, in_powers: bool = False) -> Quantization:
    """What a product reads of a state, around 0; with scales that are powers of two one number beyond the middle."""
    half = 1 << form.activation_bits - 1
    if form.scales == "power_of_two":
        return Quantization(
            state_of(largest).scale * (1 << STATE_BITS - form.activation_bits), 0, -half, half - 1
        )
    scale = largest / half if in_powers else largest / (half - 1)
    return Quantization(scale, half, 0, 2 * half - 1)


def _whole_name(weight: str) -> str:
    return f"{weight} {SUFFIX}"


def _scale_name(weight: str) -> str:
    return f"{weight} scale"
