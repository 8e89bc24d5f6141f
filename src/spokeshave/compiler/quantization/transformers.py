"""Runs products of two values, layer norm and softmax in whole numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor

from spokeshave.compiler.operations import QuantizedMatMul, QuantizedNorm, QuantizedSoftmax
from spokeshave.compiler.operations.integers import Quantization
from spokeshave.compiler.operations.transformers import Divided

Weights = Mapping[str, Tensor]


def run_matmul(operation: QuantizedMatMul, first: Tensor, second: Tensor) -> Tensor:
    """The sums of a product, exact in float64."""
    a = first.double() - operation.first.zero_point
    b = second.double() - operation.second.zero_point
    return _clamped((a @ b).long(), operation.output)


def run_norm(operation: QuantizedNorm, weights: Weights, x: Tensor) -> Tensor:
    """Layer norm over the last axis."""
    x = x.long() - operation.input.zero_point
    total = x.sum(-1, keepdim=True)
    centred = x - rounded_shift(total * operation.mean_multiplier, operation.mean_shift)
    inverse = look_up(operation.inverse, weights, centred.square().sum(-1, keepdim=True))
    scaled = centred * inverse * weights[operation.gamma].long() + weights[operation.beta].long()
    return _clamped(scaled >> operation.shift, operation.output)


def run_softmax(operation: QuantizedSoftmax, weights: Weights, x: Tensor) -> Tensor:
    """Softmax over the last axis."""
    x = x.long()
    powers = look_up(operation.power, weights, x.amax(-1, keepdim=True) - x)
    total = powers.sum(-1, keepdim=True)
    beyond = place(operation.near, total) >= len(weights[operation.near.table])
    near, far = (
        rounded_shift(powers * look_up(table, weights, total), shift)
        for table, shift in (
            (operation.near, operation.near_shift),
            (operation.far, operation.far_shift),
        )
    )
    return _clamped(torch.where(beyond, far, near), operation.output)


def look_up(read: Divided, weights: Weights, x: Tensor) -> Tensor:
    """What a table holds for a number, int64; numbers beyond its ends have the ends."""
    table = weights[read.table].long()
    return table[place(read, x).clamp(0, len(table) - 1)]


def place(read: Divided, x: Tensor) -> Tensor:
    """Where in a table a number stands, before it is brought within it."""
    return (x + read.start) >> read.shift


def rounded_shift(x: Tensor, shift: int) -> Tensor:
    """Divided by a power of two, halves up."""
    return (x + (1 << shift >> 1)) >> shift


def _clamped(x: Tensor, output: Quantization) -> Tensor:
    return x.clamp(output.low, output.high).to(getattr(torch, output.dtype))
