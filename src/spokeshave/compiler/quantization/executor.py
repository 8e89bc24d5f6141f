"""Integer layers run by PyTorch, bit for bit as the kernels do: the oracle, and the executor of integer devices."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.operations import Convolution, Quantized, QuantizedRecurrent
from spokeshave.compiler.quantization.arithmetic import (
    Requantization,
    fused_multiply_add,
    quantize,
    requantization,
    to_levels,
)
from spokeshave.compiler.quantization.gates import CELLS, merged_biases

Weights = Mapping[str, Tensor]


def run_quantized(
    operation: Quantized, weights: Weights, x: Tensor, residual: Tensor | None = None
) -> Tensor:
    """One layer: uint8 (or float32, without `operation.output`), bit for bit where the activation is exact.

    Activations other than relu and clamp are PyTorch's own and may differ from a kernel's by their rounding.
    """
    layer = operation.layer
    weight, scale = weights[layer.weight], weights[operation.weight_scale]
    after = requantization(operation, weight, scale, weights[layer.bias] if layer.bias else None)
    return finish(operation, after, integer_sums(operation, x, weight), residual)


def integer_sums(operation: Quantized, x: Tensor, weight: Tensor) -> Tensor:
    """The int32 sums, zero point taken off, exact in float64 (all sums are below 2^53)."""
    layer, centred = operation.layer, x.double() - operation.input.zero_point
    if not isinstance(layer, Convolution):
        return F.linear(centred, weight.double())
    top, left, bottom, right = layer.padding
    padded = F.pad(centred, (left, right, top, bottom))
    return F.conv2d(padded, weight.double(), None, layer.stride, 0, layer.dilation, layer.groups)


def finish(operation: Quantized, after: Requantization, sums: Tensor, residual: Tensor | None) -> Tensor:
    """Scale, shift, residual, activation and rounding of sums, float64 that hold whole numbers."""
    rows = (-1, 1, 1) if isinstance(operation.layer, Convolution) else (-1,)
    y = fused_multiply_add(sums.float(), after.scale.view(rows), after.shift.view(rows))
    if residual is not None:
        y = fused_multiply_add(residual.float(), y.new_tensor(after.residual_scale), y)
    if operation.output is None:
        return activate(after.activation, y)
    if after.activation is not None:
        y = activate(after.activation, y)
        y = fused_multiply_add(y, y.new_tensor(after.inverse), y.new_tensor(float(after.zero_point)))
    return to_levels(y, after.low, after.high)


def run_quantized_recurrent(
    operation: QuantizedRecurrent, weights: Weights, inputs: Sequence[Tensor], hidden: int
) -> list[Tensor]:
    """A recurrent layer over all steps: the sequence, and the states after the last step; bit for bit."""
    layer = operation.layer
    sequence, *states = inputs
    constants = [weights[name] for name in (layer.hidden_state, layer.cell_state) if name is not None]
    states = states or [constant.reshape(1, hidden) for constant in constants]
    states = states or [sequence.new_zeros(1, hidden)] * (2 if layer.kind == "lstm" else 1)
    biases = merged_biases(layer, weights)
    projected = _share_of_gates(operation.input_product, weights, biases[0])(sequence[0])
    share = _share_of_gates(operation.state_product, weights, biases[1])
    steps = range(len(projected))
    made = []
    for step in reversed(steps) if layer.reverse else steps:
        states = [*CELLS[layer.kind](projected[step : step + 1], share(states[0]), *states)]
        made.append(states[0])
    return [torch.stack(made[::-1] if layer.reverse else made, 1), *states]


def _share_of_gates(operation: Quantized, weights: Weights, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """What multiplies float32 rows with an int8 weight: `[N, K]` -> `[N, gates]`."""
    weight = weights[operation.weight]
    after = requantization(operation, weight, weights[operation.weight_scale], bias)
    exact = weight.double()  # once, not at every step
    return lambda x: finish(
        operation, after, integer_sums(operation, quantize(x, operation.input), exact), None
    )
