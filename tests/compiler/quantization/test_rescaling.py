"""Multipliers and shifts against whole numbers of Python."""

from fractions import Fraction
from math import floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spokeshave.compiler.quantization.rescaling import multipliers, order_of, rescaled, shifts
from spokeshave.errors import SpokeshaveError

SUMS = st.integers(-(2**31), 2**31 - 1)


def whole(value):
    return torch.tensor([value], dtype=torch.int64)


@given(SUMS, st.integers(0, 2**31 - 1), st.integers(0, 62), st.integers(-(2**40), 2**40))
def test_one_rounding_rounds_halves_up(total, multiplier, shift, added):
    expected = floor(Fraction(total * multiplier + added, 2**shift) + Fraction(shift > 0, 2))
    made = rescaled(whole(total), whole(multiplier), whole(shift), "once", whole(added))
    assert int(made) == expected


@given(SUMS, st.integers(2**30, 2**31 - 1), st.integers(31, 60))
def test_two_roundings_are_those_of_the_published_arithmetic(total, multiplier, shift):
    """Upper half of the doubled product, then a division that rounds halves away from zero."""
    product = total * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    upper = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    quotient = Fraction(upper, 2 ** (shift - 31))
    expected = floor(abs(quotient) + Fraction(1, 2)) * (1 if quotient >= 0 else -1)
    assert int(rescaled(whole(total), whole(multiplier), whole(shift), "twice", whole(0))) == expected


@given(st.floats(1e-9, 1e3), st.floats(1e-9, 1e3) | st.none())
def test_multipliers_have_31_bits_between_them(factor, residual):
    number, shift, joined = (
        int(part) for part in multipliers(torch.tensor([factor], dtype=torch.float64), residual)
    )
    assert 2**30 <= max(number, joined) < 2**31
    assert abs(number / 2**shift - factor) <= 0.5 / 2**shift
    assert abs(joined / 2**shift - (residual or 0)) <= 0.5 / 2**shift


@given(st.integers(-20, 8), st.integers(-20, 8) | st.none())
def test_shifts_are_exact_and_no_larger_than_needed(order, joined):
    number, shift, other = (
        int(part) for part in shifts(torch.tensor([2.0**order]), None if joined is None else 2.0**joined)
    )
    assert number / 2**shift == 2.0**order
    assert other / 2**shift == (0 if joined is None else 2.0**joined)
    assert shift == 0 or 1 in (number, other)


def test_other_factors_are_no_shifts():
    assert order_of(1 / 64) == -6
    with pytest.raises(SpokeshaveError, match=r"a shift cannot rescale by 0\.3, which is no power of two"):
        shifts(torch.tensor([0.5, 0.3]))
    with pytest.raises(SpokeshaveError, match="too large"):
        multipliers(torch.tensor([2.0**40], dtype=torch.float64))
