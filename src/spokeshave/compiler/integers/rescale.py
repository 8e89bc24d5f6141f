"""From real factors between scales to what brings whole numbers from one to the other, as a form has it."""

import torch
from torch import Tensor

from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.weights import WholeWeight
from spokeshave.compiler.operations import Activation, Quantization, Quantized, QuantizedSum, Rescale, Steps
from spokeshave.compiler.quantization.rescaling import multipliers, shifts

HEADROOM = 20  # of TensorFlow Lite's sums of bytes


def whole_sum(
    inputs: tuple[Quantization, ...],
    signs: tuple[float, ...],
    output: Quantization,
    activation: Activation | None,
    form: IntegerForm,
) -> QuantizedSum:
    """Values added or subtracted, or one of them brought to another quantization."""
    if form.rounding == "twice":
        return _in_steps(inputs, signs, output, activation)
    found = as_numbers([of.scale / output.scale for of in inputs], form)
    numbers = tuple(sign * number for sign, (number, _) in zip(signs, found, strict=True))
    return QuantizedSum(inputs, numbers, output, found[0][1], activation)


def as_numbers(factors: list[float], form: IntegerForm) -> list[tuple[float, int | None]]:
    """Each of one or two factors as a multiplier and the shift that both share; without a shift as it is."""
    if form.rescale == "float":
        return [(factor, None) for factor in factors]
    first = torch.tensor(factors[:1], dtype=torch.float64)
    number, shift, other = (int(part) for part in _numbers(first, factors[1] if factors[1:] else None, form))
    both: list[tuple[float, int | None]] = [(number, shift), (other, shift)]
    return both[: len(factors)]


def rescaled_rows(
    made: str, operation: Quantized, weight: WholeWeight, bias: Tensor | None, form: IntegerForm
) -> tuple[Rescale, dict[str, Tensor]]:
    """What brings the sums of a layer's rows to levels of its output, and multipliers, shifts and biases by name."""
    units, residual = weight.scale * operation.input.scale, operation.residual
    parts: dict[str, Tensor] = {}
    if bias is not None:  # where a row's scale is 0, so is its bias: `with_room_for_biases`
        exact = bias.detach().double().flatten() / torch.where(units > 0, units, torch.inf)
        parts["bias"] = (exact + 0.5).floor().long()
    if operation.output is not None:
        joined = residual.scale / operation.output.scale if residual else None
        found = _numbers(units / operation.output.scale, joined, form)
        parts |= dict(zip(("multiplier", "shift", "residual"), found, strict=True))
    else:
        parts |= {"multiplier": torch.ones_like(units).long(), "shift": torch.zeros_like(units).long()}
    parts = {name: tensor for name, tensor in parts.items() if name != "residual" or residual}
    return _named(made, parts, form)


def sums_for_signs(
    made: str, operation: Quantized, weight: WholeWeight, bias: Tensor | None, form: IntegerForm
) -> tuple[Rescale, dict[str, Tensor]]:
    """The same for sums of which the sign alone is read: they stay as they are, and biases are rounded down.

    A whole sum is at least minus the bias wherever it is at least that rounded up. What is beyond all sums is cut off.
    """
    units, of = weight.scale * operation.input.scale, operation.input
    reach = max(of.high - of.zero_point, of.zero_point - of.low)
    most = weight.levels.flatten(1).abs().double().sum(1) * reach + 1
    ahead = torch.zeros_like(units) if bias is None else bias.detach().double().flatten()
    always = torch.where(ahead >= 0, most, -most)  # of rows whose weights are all 0
    exact = torch.where(units > 0, ahead / torch.where(units > 0, units, 1.0), always)
    one = torch.ones_like(units).long()
    parts = {"multiplier": one, "shift": 0 * one, "bias": exact.clamp(-most, most).floor().long()}
    return _named(made, parts, form)


def _named(made: str, parts: dict[str, Tensor], form: IntegerForm) -> tuple[Rescale, dict[str, Tensor]]:
    names = {name: f"{made} {name}" for name in parts}
    rescale = Rescale(
        names["multiplier"], names["shift"], names.get("bias"), names.get("residual"), form.rounding
    )
    return rescale, {names[name]: tensor for name, tensor in parts.items()}


def _numbers(factors: Tensor, residual: float | None, form: IntegerForm) -> tuple[Tensor, Tensor, Tensor]:
    return (multipliers if form.rescale == "multiplier" else shifts)(factors, residual)


def _in_steps(
    inputs: tuple[Quantization, ...],
    signs: tuple[float, ...],
    output: Quantization,
    activation: Activation | None,
) -> QuantizedSum:
    """A sum whose inputs are brought to twice the larger scale first."""
    common = 2 * max(of.scale for of in inputs)
    factors = [of.scale / common for of in inputs] + [common / (output.scale * (1 << HEADROOM))]
    numbers, shift, _ = multipliers(torch.tensor(factors, dtype=torch.float64))
    *each, last = zip(numbers.tolist(), shift.tolist(), strict=True)
    signed = tuple(sign * number for sign, (number, _) in zip(signs, each, strict=True))
    steps = Steps(HEADROOM, tuple(shift for _, shift in each), *last)
    return QuantizedSum(inputs, signed, output, None, activation, steps)
