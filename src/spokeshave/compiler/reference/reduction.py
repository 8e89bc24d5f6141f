"""Runs pooling, means, softmax and normalisation."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.operations import (
    GroupNorm,
    LayerNorm,
    Mean,
    Pool,
    QuantizedPool,
    RMSNorm,
    Softmax,
    Sum,
)
from spokeshave.compiler.reference.runner import Runner, Weights
from spokeshave.polynomials import polynomial_softmax


def _pool(op: Pool, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    """The output's size tells whether windows that stick out at the end count (ceil mode)."""
    x, (top, left) = inputs[0], op.padding[:2]
    if op.kind == "max":
        run = lambda ceil: F.max_pool2d(x, op.kernel, op.stride, (top, left), op.dilation, ceil)  # noqa: E731
    else:
        run = lambda ceil: F.avg_pool2d(x, op.kernel, op.stride, (top, left), ceil, op.count_padding)  # noqa: E731
    y = run(False)
    return y if tuple(y.shape[2:]) == tuple(shape[2:]) else run(True)


def _quantized_pool(
    op: QuantizedPool, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]
) -> Tensor:
    return _pool(op.pool, [inputs[0].float()], weights, shape).to(inputs[0].dtype)


def _softmax(op: Softmax, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    if op.polynomial is not None:
        return polynomial_softmax(inputs[0], op.axis, op.polynomial)
    return (F.log_softmax if op.logarithm else F.softmax)(inputs[0], op.axis)


def _layer_norm(op: LayerNorm, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    weight, bias = _optional(weights, op.weight), _optional(weights, op.bias)
    return F.layer_norm(inputs[0], shape[-op.axes :], weight, bias, op.epsilon)


def _group_norm(op: GroupNorm, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    weight, bias = _optional(weights, op.weight), _optional(weights, op.bias)
    return F.group_norm(inputs[0], op.groups, weight, bias, op.epsilon)


def _rms_norm(op: RMSNorm, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    return F.rms_norm(inputs[0], shape[-1:], _optional(weights, op.weight), op.epsilon)


def _optional(weights: Weights, name: str | None) -> Tensor | None:
    return None if name is None else weights[name]


RUNNERS: Mapping[type, Runner] = {
    Pool: _pool,
    QuantizedPool: _quantized_pool,
    Softmax: _softmax,
    LayerNorm: _layer_norm,
    GroupNorm: _group_norm,
    RMSNorm: _rms_norm,
    Sum: lambda op, inputs, weights, shape: inputs[0].sum(op.axes, op.keep),
    Mean: lambda op, inputs, weights, shape: inputs[0].mean(op.axes, op.keep),
}
