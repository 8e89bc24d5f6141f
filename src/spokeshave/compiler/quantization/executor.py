"""Integer layers run by PyTorch, bit for bit as the kernels do: the oracle, and the executor of integer devices."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.compiler.activation import activate
from spokeshave.compiler.operations import (
    Activation,
    Convolution,
    Lookup,
    Mean,
    Quantization,
    Quantized,
    QuantizedAttention,
    QuantizedMean,
    QuantizedRecurrent,
    QuantizedSelected,
    QuantizedSum,
    Recurrent,
    Rescale,
    Steps,
)
from spokeshave.compiler.operations.integers import Rounding
from spokeshave.compiler.quantization.arithmetic import (
    Requantization,
    clamping,
    fused_multiply_add,
    output_bounds,
    quantize,
    requantization,
    to_levels,
    whole_bounds,
)
from spokeshave.compiler.quantization.gates import CELLS, merged_biases
from spokeshave.compiler.quantization.rescaling import rescaled

Weights = Mapping[str, Tensor]
SumsOf = Callable[[Quantized, Tensor], Callable[[Tensor], Tensor]]  # of a layer and its whole weight
FLOAT32_EXACT = 1 << 24  # up to here float32 holds every whole number


def run_quantized(
    operation: Quantized, weights: Weights, x: Tensor, residual: Tensor | None = None
) -> Tensor:
    """One layer: whole numbers (or float32, without `operation.output`), bit for bit where the activation is exact.

    Activations other than relu and clamp are PyTorch's own and may differ from a kernel's by their rounding, and where
    they are curves (`curves.py`), by these: rarely by a level.
    """
    sums = integer_sums(operation, x, weights[operation.weight])
    return after_sums(operation, weights, sums, residual)


def after_sums(
    operation: Quantized, weights: Weights, sums: Tensor, residual: Tensor | None = None
) -> Tensor:
    """What a layer makes of its sums, whoever made them (a device may have ways of its own)."""
    layer = operation.layer
    if operation.rescale is not None:
        return finish_whole(operation, operation.rescale, weights, sums, residual)
    weight, scale = weights[layer.weight], weights[operation.weight_scale]
    after = requantization(operation, weight, scale, weights[layer.bias] if layer.bias else None)
    return finish(operation, after, sums, residual)


def integer_sums(operation: Quantized, x: Tensor, weight: Tensor) -> Tensor:
    """The sums, zero point taken off, exact: floating-point numbers that are whole and have digits enough."""
    kind = _exact_type(operation, weight)
    layer, centred, weight = operation.layer, x.to(kind) - operation.input.zero_point, weight.to(kind)
    if not isinstance(layer, Convolution):
        return F.linear(centred, weight)
    top, left, bottom, right = layer.padding
    padded = F.pad(centred, (left, right, top, bottom))
    with torch.backends.nnpack.flags(enabled=False):  # it has algorithms that round on the way
        return F.conv2d(padded, weight, None, layer.stride, 0, layer.dilation, layer.groups)


def _exact_type(operation: Quantized, weight: Tensor) -> torch.dtype:
    """float32 where no sum can need more digits than it has, which is twice as fast; else float64."""
    if weight.device.type == "meta" or torch.get_float32_matmul_precision() != "highest":
        return torch.float64
    largest = max(
        operation.input.high - operation.input.zero_point, operation.input.zero_point - operation.input.low
    )
    most = float(weight.flatten(1).abs().double().sum(1).amax()) * largest
    return torch.float32 if most <= FLOAT32_EXACT else torch.float64


def finish(operation: Quantized, after: Requantization, sums: Tensor, residual: Tensor | None) -> Tensor:
    """Scale, shift, residual, activation and rounding of sums, floating-point numbers that are whole."""
    rows = _row_shape(operation)
    y = fused_multiply_add(sums.float(), after.scale.view(rows), after.shift.view(rows))
    if residual is not None:
        y = fused_multiply_add(residual.float(), y.new_tensor(after.residual_scale), y)
    if operation.output is None:
        return activate(after.activation, y)
    if after.activation is not None:
        y = activate(after.activation, y)
        y = fused_multiply_add(y, y.new_tensor(after.inverse), y.new_tensor(float(after.zero_point)))
    return to_levels(y, after.low, after.high, operation.output.dtype)


def finish_whole(
    operation: Quantized, rescale: Rescale, weights: Weights, sums: Tensor, residual: Tensor | None
) -> Tensor:
    """The same in whole numbers alone; without an output the sums themselves, as float32 by their scale."""
    rows, sums = _row_shape(operation), sums.long()
    if rescale.bias is not None:
        sums = sums + weights[rescale.bias].view(rows)
    if operation.output is None:
        scale = weights[operation.weight_scale].double() * operation.input.scale
        return (sums.double() * scale.view(rows)).float()
    added = sums.new_zeros(())
    if residual is not None and rescale.residual is not None and operation.residual is not None:
        added = (residual.long() - operation.residual.zero_point) * weights[rescale.residual].view(rows)
    multiplier, shift = (weights[name].view(rows) for name in (rescale.multiplier, rescale.shift))
    return _clamped(
        rescaled(sums, multiplier, shift, rescale.rounding, added),
        operation.output,
        operation.layer.activation,
    )


def run_sum(operation: QuantizedSum, *inputs: Tensor) -> Tensor:
    """Whole numbers of several quantizations added."""
    output, terms = operation.output, list(zip(inputs, operation.inputs, operation.multipliers, strict=True))
    if operation.steps is not None:
        return _clamped(_sum_in_steps(operation, operation.steps, inputs), output, operation.activation)
    if operation.shift is not None:
        total = sum((x.long() - of.zero_point) * int(multiplier) for x, of, multiplier in terms)
        assert isinstance(total, Tensor)
        return _clamped(_shifted(total, 1, operation.shift), output, operation.activation)
    y = torch.tensor(float(output.zero_point))
    for x, of, multiplier in terms:
        y = fused_multiply_add(x.float() - of.zero_point, torch.tensor(multiplier), y)
    return to_levels(y, *output_bounds(output, clamping(operation.activation)), output.dtype)


def _sum_in_steps(operation: QuantizedSum, steps: Steps, inputs: Sequence[Tensor]) -> Tensor:
    total = torch.zeros((), dtype=torch.int64)
    for x, of, multiplier, shift in zip(
        inputs, operation.inputs, operation.multipliers, steps.shifts, strict=True
    ):
        centred = (x.long() - of.zero_point) << steps.headroom
        total = total + _shifted(centred, int(multiplier), shift, "twice")
    return _shifted(total, steps.multiplier, steps.shift, "twice")


def run_mean(operation: QuantizedMean, x: Tensor) -> Tensor:
    """The mean of whole numbers over axes or windows."""
    of, how = operation.input, operation.operation
    centred = x.double() - of.zero_point
    if isinstance(how, Mean):
        sums = centred.sum(how.axes, how.keep)
    else:
        sums = F.avg_pool2d(centred, how.kernel, how.stride, how.padding[:2], False, True, 1)
    return to_output(sums, operation)


def to_output(sums: Tensor, operation: QuantizedMean | QuantizedAttention) -> Tensor:
    """Whole sums in float64 brought to levels of the operation's output."""
    output = operation.output
    if operation.shift is not None:
        levels = _shifted(sums.long(), int(operation.multiplier), operation.shift, operation.rounding)
        return _clamped(levels, output, None)
    y = fused_multiply_add(
        sums.float(), torch.tensor(operation.multiplier), torch.tensor(float(output.zero_point))
    )
    return to_levels(y, output.low, output.high, output.dtype)


def run_lookup(operation: Lookup, weights: Weights, x: Tensor) -> Tensor:
    """A function by table."""
    table = weights[operation.table]
    places = ((x.long() + operation.start) >> operation.shift).clamp(0, len(table) - 1)
    return table.to(getattr(torch, operation.output.dtype))[places]


def _shifted(sums: Tensor, multiplier: int, shift: int, rounding: Rounding = "once") -> Tensor:
    numbers = (sums.new_tensor(multiplier), sums.new_tensor(shift))
    return rescaled(sums, *numbers, rounding, sums.new_zeros(()))


def _clamped(levels: Tensor, output: Quantization, activation: Activation | None) -> Tensor:
    """From multiples of the output's scale to its whole numbers."""
    low, high = whole_bounds(output, activation)
    return (levels + output.zero_point).clamp(low, high).to(getattr(torch, output.dtype))


def _row_shape(operation: Quantized) -> tuple[int, ...]:
    return (-1, 1, 1) if isinstance(operation.layer, Convolution) else (-1,)


def run_quantized_selected(
    operation: QuantizedSelected, weights: Weights, x: Tensor, chosen: Tensor
) -> Tensor:
    """Every token times the matrix that it chooses, bit for bit."""
    matrices = weights[operation.layer.weight]
    after = requantization(operation.product, matrices.flatten(0, 1), weights[operation.weight_scale], None)
    levels, number = quantize(x, operation.input), chosen.unsqueeze(-1)
    sums = x.new_zeros(*x.shape[:-1], matrices.shape[1], dtype=torch.float64)
    asked_for = range(len(matrices)) if chosen.is_meta else chosen.unique().long().tolist()
    for index in asked_for:
        product = integer_sums(operation.product, levels, matrices[index])
        sums = torch.where(number == index, product, sums)
    scale, shift = (rows.view(matrices.shape[:2])[chosen.long()] for rows in (after.scale, after.shift))
    return fused_multiply_add(sums.float(), scale, shift)


def run_quantized_recurrent(
    operation: QuantizedRecurrent, weights: Weights, inputs: Sequence[Tensor], sums_of: SumsOf | None = None
) -> list[Tensor]:
    """A recurrent layer over all steps of `[N, T, F]`: the sequence, and the states after the last; bit for bit."""
    layer = operation.layer
    sequence, *given = inputs
    states = first_states(layer, weights, given, len(sequence), sequence.device)
    biases = merged_biases(layer, weights)
    projected = _share_of_gates(operation.input_product, weights, biases[0], sums_of)(sequence)
    share = _share_of_gates(operation.state_product, weights, biases[1], sums_of)
    steps = range(projected.shape[1])
    made = []
    for step in reversed(steps) if layer.reverse else steps:
        states = [*CELLS[layer.kind](projected[:, step], share(states[0]), *states)]
        made.append(states[0])
    return [torch.stack(made[::-1] if layer.reverse else made, 1), *states]


def first_states(
    layer: Recurrent, weights: Weights, given: Sequence[Tensor], samples: int, device: torch.device
) -> list[Tensor]:
    """The states before the first step, float32 `[N, H]` each: given, constants, or zeros."""
    hidden = weights[layer.hidden_weight].shape[1]
    constants = [weights[name] for name in (layer.hidden_state, layer.cell_state) if name is not None]
    found = list(given) or [constant.reshape(1, hidden).expand(samples, hidden) for constant in constants]
    return found or [torch.zeros(samples, hidden, device=device)] * (2 if layer.kind == "lstm" else 1)


def exact_sums(operation: Quantized, weight: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes the sums of a linear layer, zero points taken off, many times over."""
    kind = _exact_type(operation, weight)
    exact = weight.to(kind)
    return lambda x: F.linear(x.to(kind) - operation.input.zero_point, exact)


def _share_of_gates(
    operation: Quantized, weights: Weights, bias: Tensor, sums_of: SumsOf | None
) -> Callable[[Tensor], Tensor]:
    """What multiplies float32 rows with a whole weight: `[..., K]` -> `[..., gates]`."""
    weight = weights[operation.weight]
    after = requantization(operation, weight, weights[operation.weight_scale], bias)
    sums = (sums_of or exact_sums)(operation, weight)
    return lambda x: finish(operation, after, sums(quantize(x, operation.input)), None)
