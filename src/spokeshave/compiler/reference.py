"""Runs operations with PyTorch: the oracle of every pass and kernel, and the fallback at run time."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._ops import OpOverloadPacket

from spokeshave.compiler.activation import activate
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.operations import (
    Activate,
    Affine,
    Attention,
    Binary,
    Concatenate,
    Convert,
    Convolution,
    Dequantize,
    Embedding,
    Expand,
    Foreign,
    GroupNorm,
    LayerNorm,
    Linear,
    Mean,
    Operation,
    Pad,
    Permute,
    Pool,
    Quantize,
    Quantized,
    Recurrent,
    Reshape,
    Slice,
    Softmax,
    Take,
    Where,
)
from spokeshave.compiler.quantization.arithmetic import dequantize, quantize
from spokeshave.compiler.quantization.executor import run_quantized
from spokeshave.compiler.reference_tokens import attention, convert, embedding, take, where
from spokeshave.errors import SpokeshaveError

Weights = Mapping[str, Tensor]
READ_FILES = frozenset({"from_file"})

BINARIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
}


def run_reference(graph: Graph, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Run a graph node by node and return its outputs; a batch runs sample by sample and is joined at the end."""
    samples = len(inputs[0]) if inputs else 1
    if samples == 1:
        return _run_sample(graph, inputs)
    rows = [_run_sample(graph, [tensor[i : i + 1] for tensor in inputs]) for i in range(samples)]
    return [
        graph.weights[name] if name in graph.weights else torch.cat(row)
        for name, row in zip(graph.outputs, zip(*rows, strict=True), strict=True)
    ]


def _run_sample(graph: Graph, inputs: Sequence[Tensor]) -> list[Tensor]:
    values = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
        shape = graph.shape(node.outputs[0])
        results = run_operation(node.operation, operands, graph.weights, shape, values)
        values.update(zip(node.outputs, results, strict=True))
    return [values[name] if name in values else graph.weights[name] for name in graph.outputs]


def run_operation(
    operation: Operation,
    inputs: Sequence[Tensor],
    weights: Weights,
    shape: tuple[int, ...],
    values: Mapping[str, Tensor],
) -> list[Tensor]:
    """Run one operation for one sample; `shape` is its output's, `values` holds what a foreign operator names."""
    if isinstance(operation, Foreign):
        return run_foreign(operation, values, weights)
    result = RUNNERS[type(operation)](operation, list(inputs), weights, shape)
    return [result] if isinstance(result, Tensor) else list(result)


def _convolution(op: Convolution, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    top, left, bottom, right = op.padding
    padded = F.pad(inputs[0], (left, right, top, bottom))
    bias = weights[op.bias] if op.bias else None
    y = F.conv2d(padded, weights[op.weight], bias, op.stride, 0, op.dilation, op.groups)
    return activate(op.activation, y + inputs[1] if op.residual else y)


def _linear(op: Linear, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    y = F.linear(inputs[0], weights[op.weight], weights[op.bias] if op.bias else None)
    return activate(op.activation, y + inputs[1] if op.residual else y)


def _pool(op: Pool, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    """The output's size tells whether windows that stick out at the end count (ceil mode)."""
    x, (top, left) = inputs[0], op.padding[:2]
    if op.kind == "max":
        run = lambda ceil: F.max_pool2d(x, op.kernel, op.stride, (top, left), op.dilation, ceil)  # noqa: E731
    else:
        run = lambda ceil: F.avg_pool2d(x, op.kernel, op.stride, (top, left), ceil, op.count_padding)  # noqa: E731
    y = run(False)
    return y if tuple(y.shape[2:]) == tuple(shape[2:]) else run(True)


def _binary(op: Binary, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    first, second = inputs[0], weights[op.constant] if op.constant else inputs[1]
    if op.reverse:
        first, second = second, first
    result = BINARIES[op.kind](first, second)
    return activate(op.activation, result.float() if result.dtype == torch.bool else result)


def _affine(op: Affine, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    channels = (-1, *(1 for _ in shape[2:]))
    return activate(
        op.activation, inputs[0] * weights[op.scale].view(channels) + weights[op.shift].view(channels)
    )


def _optional(weights: Weights, name: str | None) -> Tensor | None:
    return None if name is None else weights[name]


def _layer_norm(op: LayerNorm, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    weight, bias = _optional(weights, op.weight), _optional(weights, op.bias)
    return F.layer_norm(inputs[0], shape[-op.axes :], weight, bias, op.epsilon)


def _group_norm(op: GroupNorm, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    weight, bias = _optional(weights, op.weight), _optional(weights, op.bias)
    return F.group_norm(inputs[0], op.groups, weight, bias, op.epsilon)


def _slice(op: Slice, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    return inputs[0][(slice(None),) * op.axis + (slice(op.start, op.stop, op.step),)]


def _pad(op: Pad, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    widths = [width for pair in zip(reversed(op.before), reversed(op.after), strict=True) for width in pair]
    return F.pad(inputs[0], widths, value=op.value)


def _softmax(op: Softmax, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    return (F.log_softmax if op.logarithm else F.softmax)(inputs[0], op.axis)


def _recurrent(op: Recurrent, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> list[Tensor]:
    sequence = inputs[0].flip(1) if op.reverse else inputs[0]
    names = (op.input_weight, op.hidden_weight, op.input_bias, op.hidden_bias)
    parameters = [weights[name] for name in names if name is not None]
    state = inputs[1:] or [weights[name] for name in (op.hidden_state, op.cell_state) if name is not None]
    state = state or [sequence.new_zeros(1, shape[-1])] * (2 if op.kind == "lstm" else 1)
    state = [entry.reshape(1, 1, -1) for entry in state]
    settings = (parameters, len(parameters) == 4, 1, 0.0, False, False, True)
    run: Callable[..., Sequence[Tensor]] = torch.lstm if op.kind == "lstm" else torch.gru
    y, *last = run(sequence, state if op.kind == "lstm" else state[0], *settings)
    return [y.flip(1) if op.reverse else y, *(entry[0] for entry in last)]


RUNNERS: dict[type, Callable[..., Tensor | Sequence[Tensor]]] = {
    Convolution: _convolution,
    Linear: _linear,
    Pool: _pool,
    Activate: lambda op, inputs, weights, shape: activate(op.activation, inputs[0]),
    Binary: _binary,
    Affine: _affine,
    Concatenate: lambda op, inputs, weights, shape: torch.cat(inputs, op.axis),
    Softmax: _softmax,
    LayerNorm: _layer_norm,
    GroupNorm: _group_norm,
    Mean: lambda op, inputs, weights, shape: inputs[0].mean(op.axes, op.keep),
    Reshape: lambda op, inputs, weights, shape: inputs[0].reshape(shape),
    Permute: lambda op, inputs, weights, shape: inputs[0].permute(op.axes),
    Slice: _slice,
    Pad: _pad,
    Recurrent: _recurrent,
    Quantize: lambda op, inputs, weights, shape: quantize(inputs[0], op.quantization),
    Dequantize: lambda op, inputs, weights, shape: dequantize(inputs[0], op.quantization),
    Quantized: lambda op, inputs, weights, shape: run_quantized(op, weights, *inputs),
    Attention: attention,
    Take: take,
    Embedding: embedding,
    Convert: convert,
    Where: where,
    Expand: lambda op, inputs, weights, shape: inputs[0].expand(shape),
}


def run_foreign(operation: Foreign, values: Mapping[str, Tensor], weights: Weights) -> list[Tensor]:
    """Run an ATen operator by name for one sample; results get the sample axis in front where they lack it.

    Raises SpokeshaveError for anything that is not an operator of `torch.ops.aten`, or that reads files.
    """
    overload = _overload(operation.target)
    positional, keywords = json.loads(operation.arguments)
    named = {key: _resolve(value, values, weights) for key, value in keywords.items()}
    result = overload(*(_resolve(entry, values, weights) for entry in positional), **named)
    results = [result] if isinstance(result, Tensor) else list(result)
    return [entry if entry.shape[:1] == (1,) else entry.unsqueeze(0) for entry in results]


def _overload(target: str) -> Callable[..., Any]:
    """The operator that a saved deployment names: its text is not trusted."""
    namespace, _, rest = target.partition(".")
    name, _, overload = rest.partition(".")
    allowed = namespace == "aten" and name.isidentifier() and name not in READ_FILES
    packet = getattr(torch.ops.aten, name, None) if allowed else None
    if not isinstance(packet, OpOverloadPacket) or overload not in packet.overloads():
        raise SpokeshaveError(f"this version of PyTorch has no operator {target}")
    function: Callable[..., Any] = getattr(packet, overload)
    return function


def _resolve(argument: Any, values: Mapping[str, Tensor], weights: Weights) -> Any:
    if isinstance(argument, list):
        return [_resolve(entry, values, weights) for entry in argument]
    if not isinstance(argument, dict):
        return argument
    if "value" in argument:
        value = values[argument["value"]]
        return value.squeeze(0) if argument.get("unbatched") else value
    ((kind, name),) = argument.items()
    if kind == "weight":
        return weights[name]
    return getattr(torch, name) if kind == "dtype" else torch.device(name)
