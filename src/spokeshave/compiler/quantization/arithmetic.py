"""The arithmetic of integer layers, defined once: the executor runs it, kernels are tested against it bit for bit.

    sum = start + sum of weight * x                     int32, exact
    y   = sum * scale + shift                           float32, one fused multiply-add
    y   = residual * residual_scale + y                 likewise
    y   = activation(y), and to the output's units      where the activation is no mere clamp
    q   = round(clamp(y, low, high))                    ties to even

or, with a `Rescale`, whole numbers to the end:

    q   = clamp((sum * multiplier + residual * residual_multiplier + half) >> shift, low, high)

Scales and shifts of a quantized output are in the output's units, so that relu and clamp cost nothing but the bounds
that saturation needs anyway.
"""

from dataclasses import dataclass
from math import floor, inf

import torch
from torch import Tensor

from spokeshave.compiler.operations import Activation, Quantization, Quantized

LEVELS = 255  # largest uint8, which kernels compute with
LARGEST_WEIGHT = 127  # int8 weights are symmetric
MOST_INPUTS = 32_000  # of one row: 2 * MOST_INPUTS * LEVELS * LARGEST_WEIGHT stays within int32


@dataclass(frozen=True)
class Requantization:
    """What follows the sums of a layer; `[rows]` tensors: `start` int32, `scale` and `shift` float32.

    `activation` is None where the bounds do its work. `inverse` and `zero_point` take activated values to the output's
    units; they, `low` and `high` mean nothing when the output is float32.
    """

    start: Tensor
    scale: Tensor
    shift: Tensor
    residual_scale: float
    activation: Activation | None
    inverse: float
    zero_point: int
    low: float
    high: float


def requantization(
    operation: Quantized, weight: Tensor, weight_scale: Tensor, bias: Tensor | None
) -> Requantization:
    """What follows the sums of this layer; computed in float64 and rounded once."""
    layer, residual, output = operation.layer, operation.residual, operation.output
    bounds = clamping(layer.activation) if output else None
    unit = 1 / output.scale if output and bounds else 1.0
    shift = (
        torch.zeros_like(weight_scale, dtype=torch.float64)
        if bias is None
        else bias.detach().double().flatten()
    )
    if residual:
        shift = shift - residual.scale * residual.zero_point
    shift = shift * unit + (output.zero_point if output and bounds else 0)
    rows = weight.flatten(1).long().sum(1)
    low, high = output_bounds(output, bounds) if output else (-inf, inf)
    return Requantization(
        start=(-operation.input.zero_point * rows).int(),
        scale=(weight_scale.double() * operation.input.scale * unit).float(),
        shift=shift.float(),
        residual_scale=(residual.scale if residual else 1.0) * unit,
        activation=None if bounds else layer.activation,
        inverse=1 / output.scale if output else 1.0,
        zero_point=output.zero_point if output else 0,
        low=low,
        high=high,
    )


def conversion(output: Quantization) -> Requantization:
    """The same for float32 values that are merely converted."""
    nothing = torch.zeros(0)
    return Requantization(
        nothing.int(),
        nothing,
        nothing,
        1.0,
        None,
        1 / output.scale,
        output.zero_point,
        output.low,
        output.high,
    )


def clamping(activation: Activation | None) -> tuple[float, float] | None:
    """The range that an activation clamps to, None for one that does more than that."""
    if activation is None:
        return -inf, inf
    if activation.kind == "relu":
        return 0.0, inf
    return (activation.parameters[0], activation.parameters[1]) if activation.kind == "clamp" else None


def output_bounds(output: Quantization, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """The range of an activation in the output's units, within what the output can hold."""
    low, high = (bound / output.scale + output.zero_point for bound in bounds or (-inf, inf))
    return min(max(low, output.low), output.high), max(min(high, output.high), output.low)


def whole_bounds(output: Quantization, activation: Activation | None) -> tuple[int, int]:
    """The same as whole numbers: those that the clamped levels round to, halves up."""
    low, high = output_bounds(output, clamping(activation))
    return floor(low + 0.5), floor(high + 0.5)


def quantize(x: Tensor, quantization: Quantization) -> Tensor:
    """float32 -> whole numbers; NaN becomes the lowest."""
    zero_point = float(quantization.zero_point)
    y = fused_multiply_add(x, x.new_tensor(1 / quantization.scale), x.new_tensor(zero_point))
    return to_levels(y, quantization.low, quantization.high, quantization.dtype)


def to_levels(y: Tensor, low: float, high: float, dtype: str = "uint8") -> Tensor:
    """Clamp (NaN becomes `low`) and round to whole numbers, ties to even."""
    return torch.fmax(y, y.new_tensor(low)).clamp(max=high).round().to(getattr(torch, dtype))


def dequantize(q: Tensor, quantization: Quantization) -> Tensor:
    """Whole numbers -> float32."""
    values = q.float()
    return (values - quantization.zero_point) * values.new_tensor(quantization.scale)


def fused_multiply_add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """`a * b + c` of float32 tensors, rounded once, as the instruction does it.

    The product is exact in float64; the sum is rounded to odd there, which makes the second rounding, to float32,
    give what a single one would (Boldo and Melquiond, 2008).
    """
    product, addend = a.double() * b.double(), c.double()
    total = product + addend
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)
    bits = total.view(torch.int64)
    to_odd = error.isfinite() & (error != 0) & (bits % 2 == 0)
    towards = torch.where((error > 0) == (total > 0), 1, -1)
    return torch.where(to_odd, bits + towards, bits).view(torch.float64).float()
