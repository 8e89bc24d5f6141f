"""Imports recurrent layers: one typed operation for each layer and direction."""

from collections.abc import Sequence
from typing import Any

import torch

from spokeshave.compiler.graph import Node
from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError, Weight, dtype_name
from spokeshave.compiler.importer.pieces import selected
from spokeshave.compiler.operations import Concatenate, Recurrent, RecurrentKind

Operand = Flow | Weight


def gru(context: Context, call: Call) -> tuple[Flow, ...]:
    """A GRU of any number of layers, in one or both directions."""
    return _recurrent(context, call, "gru", [call["hx"]])


def lstm(context: Context, call: Call) -> tuple[Flow, ...]:
    """An LSTM of any number of layers, in one or both directions."""
    return _recurrent(context, call, "lstm", call["hx"])


def _recurrent(
    context: Context, call: Call, kind: RecurrentKind, initial: Sequence[Operand]
) -> tuple[Flow, ...]:
    value = _sequence(context, call)
    weights = _weights(call)
    directions = 1 + call["bidirectional"]
    last: list[tuple[str, ...]] = []  # of each layer and direction: h (and c) after the last step
    for layer in range(call["num_layers"]):
        made = []
        for direction in range(directions):
            index = layer * directions + direction
            sequence, *state = _layer(
                context, call, value, kind, weights[index], bool(direction), initial, index
            )
            made.append(sequence)
            last.append(tuple(state))
        value = made[0] if directions == 1 else _side_by_side(context, call, made)
    states = (_stacked(context, call, names) for names in zip(*last, strict=True))
    return (context.result(call, value), *states)


def _sequence(context: Context, call: Call) -> str:
    """The input as `[1, T, F]`."""
    if "batch_sizes" in call.arguments:
        raise NotTypedError("packed sequences have no kernel")
    source = call.flow("input")
    batch = source.shape[0 if call["batch_first"] else 1]
    if batch != 1:
        raise NotTypedError(f"its batch axis holds {batch} sequences of one sample")
    steps = source.shape[1 if call["batch_first"] else 0]
    return context.reshaped(call, source.name, (1, steps, source.shape[2]))


def _weights(call: Call) -> list[tuple[str | None, ...]]:
    """Names of input weight, hidden weight, input bias and hidden bias of each layer and direction."""
    if call["train"] and call["dropout"]:
        raise NotTypedError("dropout in training mode has no kernel")
    names = [_weight_name(operand) for operand in call["params"]]
    matrices = call["num_layers"] * (1 + call["bidirectional"])
    each = 4 if call["has_biases"] else 2
    if len(names) != matrices * each:
        raise NotTypedError("a recurrent layer that projects its state has no kernel")
    entries = [names[start : start + each] for start in range(0, len(names), each)]
    return [(*entry, *(None for _ in range(4 - each))) for entry in entries]


def _weight_name(operand: Any) -> str:
    if not isinstance(operand, Weight):
        raise NotTypedError("its weights depend on the input")
    if operand.tensor.dtype != torch.float32:
        raise NotTypedError(f"its weights are {dtype_name(operand.tensor)}, not float32")
    return operand.name


def _layer(
    context: Context,
    call: Call,
    source: str,
    kind: RecurrentKind,
    weights: tuple[str | None, ...],
    reverse: bool,
    initial: Sequence[Operand],
    index: int,
) -> tuple[str, ...]:
    """Append one layer and direction; returns its sequence and the state after its last step."""
    input_weight, hidden_weight, input_bias, hidden_bias = weights
    assert input_weight is not None
    assert hidden_weight is not None
    hidden = context.weights[hidden_weight].shape[1]
    given, constants = _initial(context, call, initial, index)
    operation = Recurrent(
        kind, input_weight, hidden_weight, input_bias, hidden_bias, reverse, *(constants or ())
    )
    steps = context.values[source].shape[1]
    shapes = [(1, steps, hidden)] + [(1, hidden)] * len(initial)
    outputs = tuple(context.declare(call.node.name, shape) for shape in shapes)
    context.nodes.append(Node(call.layer, operation, (source, *given), outputs))
    return outputs


def _initial(
    context: Context, call: Call, initial: Sequence[Operand], index: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The state before the first step: values `[1, H]`, or names of constants, or neither where it is zero."""
    flows = [operand for operand in initial if isinstance(operand, Flow)]
    if len(flows) == len(initial):
        return tuple(selected(context, call, flow, 0, index).name for flow in flows), ()
    if flows:
        raise NotTypedError("a state of which only one half is constant has no kernel")
    tensors = [operand.tensor[index] for operand in initial if isinstance(operand, Weight)]
    if not any(tensor.any() for tensor in tensors):
        return (), ()
    return (), tuple(context.constant(f"{call.layer}.state{index}", tensor) for tensor in tensors)


def _side_by_side(context: Context, call: Call, made: Sequence[str]) -> str:
    *front, hidden = context.values[made[0]].shape
    return context.add(call, Concatenate(2), made, (*front, hidden * len(made)))


def _stacked(context: Context, call: Call, states: Sequence[str]) -> Flow:
    """States `[1, H]` of every layer and direction as the network sees them: `(layers, 1, H)`."""
    hidden = context.values[states[0]].shape[-1]
    rows = [context.reshaped(call, state, (1, 1, hidden)) for state in states]
    value = rows[0] if len(rows) == 1 else context.add(call, Concatenate(1), rows, (1, len(rows), hidden))
    flow = Flow(value, (len(states), 1, hidden))
    return Flow(context.reshaped(call, value, flow.value_shape), flow.shape)


OPERATORS: dict[str, ImportFunction] = {"gru": gru, "lstm": lstm}
