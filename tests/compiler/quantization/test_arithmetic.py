"""The arithmetic of integer layers against exact fractions and plain integers."""

from fractions import Fraction

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spokeshave.compiler.operations import Convolution, Quantization, Quantized
from spokeshave.compiler.quantization.arithmetic import dequantize, fused_multiply_add, quantize
from spokeshave.compiler.quantization.executor import integer_sums
from spokeshave.compiler.quantization.weights import quantize_rows

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
floats = st.floats(-1e8, 1e8, width=32, allow_subnormal=False)


@unhurried
@given(floats, floats, floats)
def test_multiply_add_is_rounded_once(a, b, c):
    result = fused_multiply_add(*(torch.tensor([number]) for number in (a, b, c))).item()
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    below, above = (
        np.nextafter(np.float32(result), -np.float32(np.inf)),
        np.nextafter(np.float32(result), np.float32(np.inf)),
    )
    distance = abs(Fraction(result) - exact)
    assert distance <= abs(Fraction(float(below)) - exact)
    assert distance <= abs(Fraction(float(above)) - exact)


def test_a_second_rounding_would_show():
    """The sum lies just above the middle of two floats; rounded to float64 first, it would lie on it and go down."""
    a, b, c = (torch.tensor([number]) for number in (1 + 2.0**-23, 2.0**-24, 1.0))
    assert fused_multiply_add(a, b, c).item() == 1 + 2.0**-23
    tiny = torch.tensor([2.0**-60])
    assert fused_multiply_add(tiny, torch.tensor([1.0]), torch.tensor([1 + 2.0**-23])).item() == 1 + 2.0**-23


@unhurried
@given(st.floats(1e-6, 1e3), st.integers(0, 255))
def test_every_level_survives_the_round_trip(scale, zero_point):
    quantization, levels = Quantization(scale, zero_point), torch.arange(256, dtype=torch.uint8)
    assert torch.equal(quantize(dequantize(levels, quantization), quantization), levels)
    assert dequantize(torch.tensor([zero_point], dtype=torch.uint8), quantization).item() == 0


def test_conversion_rounds_ties_to_even_and_clamps():
    values = torch.tensor([0.5, 1.5, 2.5, -3.0, 1e9, float("nan")])
    assert quantize(values, Quantization(1.0, 0)).tolist() == [0, 2, 2, 0, 255, 0]


def test_weights_are_within_half_a_step_and_zeros_stay():
    weight = torch.randn(7, 5, 3, 3) * torch.logspace(-6, 6, 7).view(-1, 1, 1, 1)
    weight[:, 2] = 0
    weight[3] = 0
    levels, scale = quantize_rows(weight)
    error = (levels.float() * scale.view(-1, 1, 1, 1) - weight).abs()
    assert bool((error <= scale.view(-1, 1, 1, 1) * 0.5001).all())
    assert bool((levels[:, 2] == 0).all())
    assert scale[3] == 1


def test_sums_are_those_of_integers():
    operation = Quantized(
        Convolution("w", None, padding=(1, 0, 1, 0), stride=(2, 1)), "s", Quantization(0.1, 77)
    )
    x = torch.randint(0, 256, (1, 6, 7, 5), dtype=torch.uint8)
    weight = torch.randint(-127, 128, (4, 6, 3, 3), dtype=torch.int8)
    padded = torch.full((1, 6, 9, 5), 77)
    padded[:, :, 1:8] = x
    sums = integer_sums(operation, x, weight)
    for row in range(4):
        for y in range(4):
            for column in range(3):
                window = padded[0, :, 2 * y : 2 * y + 3, column : column + 3].long() - 77
                assert sums[0, row, y, column] == (window * weight[row].long()).sum()
