"""Attention of whole networks: levels of probabilities, and what brings sums to levels of the output."""

from spokeshave.compiler.integers.rescale import as_numbers
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.operations import Attention, Quantization, QuantizedAttention


def whole_attention(
    attention: Attention, inputs: tuple[Quantization, ...], output: Quantization, form: IntegerForm
) -> QuantizedAttention:
    """Attention on levels of queries, keys and values, as the form rescales."""
    probability = levels_of_probabilities(form)
    factor = probability.scale * inputs[2].scale / output.scale
    ((multiplier, shift),) = as_numbers([factor], form)
    return QuantizedAttention(attention, inputs, probability, output, multiplier, shift, form.rounding)


def levels_of_probabilities(form: IntegerForm) -> Quantization:
    """From 0 to 1; with scales that are powers of two to the level below.

    >>> levels_of_probabilities(IntegerForm()).high, levels_of_probabilities(IntegerForm(signed=True)).high
    (255, 127)
    """
    bits = form.activation_bits - form.signed
    most = (1 << bits) - 1
    scale = 2.0**-bits if form.scales == "power_of_two" else 1 / most
    return Quantization(scale, 0, 0, most)
