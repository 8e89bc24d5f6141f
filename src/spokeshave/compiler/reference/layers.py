"""Runs layers whose weights are matrices."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.operations import Convolution, Linear, Recurrent
from spokeshave.compiler.reference.runner import Runner, Weights


def _convolution(op: Convolution, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    top, left, bottom, right = op.padding
    padded = F.pad(inputs[0], (left, right, top, bottom))
    bias = weights[op.bias] if op.bias else None
    y = F.conv2d(padded, weights[op.weight], bias, op.stride, 0, op.dilation, op.groups)
    return activate(op.activation, y + inputs[1] if op.residual else y)


def _linear(op: Linear, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    y = F.linear(inputs[0], weights[op.weight], weights[op.bias] if op.bias else None)
    return activate(op.activation, y + inputs[1] if op.residual else y)


def _recurrent(op: Recurrent, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> list[Tensor]:
    sequence = inputs[0].flip(1) if op.reverse else inputs[0]
    names = (op.input_weight, op.hidden_weight, op.input_bias, op.hidden_bias)
    parameters = [weights[name] for name in names if name is not None]
    state = inputs[1:] or [weights[name] for name in (op.hidden_state, op.cell_state) if name is not None]
    samples, hidden = len(sequence), shape[-1]
    state = state or [sequence.new_zeros(samples, hidden)] * (2 if op.kind == "lstm" else 1)
    state = [entry.reshape(1, -1, hidden).expand(1, samples, hidden).contiguous() for entry in state]
    settings = (parameters, len(parameters) == 4, 1, 0.0, False, False, True)
    run: Callable[..., Sequence[Tensor]] = torch.lstm if op.kind == "lstm" else torch.gru
    y, *last = run(sequence, state if op.kind == "lstm" else state[0], *settings)
    return [y.flip(1) if op.reverse else y, *(entry[0] for entry in last)]


RUNNERS: Mapping[type, Runner] = {
    Convolution: _convolution,
    Linear: _linear,
    Recurrent: _recurrent,
}
