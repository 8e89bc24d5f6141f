"""Lanes in a simulator, held to the products of whole numbers and to the levels of schemes."""

import pytest
import torch
from tests.devices.fpga.verilog.simulators import needs

from spokeshave.devices.fpga.verilog.lanes import (
    binary_dot_product,
    pair_codes,
    pair_dot_product,
    shift_codes,
    shift_dot_product,
)
from spokeshave.devices.fpga.verilog.simulation import lint
from spokeshave.devices.fpga.verilog.vectors import run_vectors
from spokeshave.schemes.quantizers import Binary, FixedPoint, PowerOfTwo
from spokeshave.schemes.whole_levels import whole_levels

VECTORS, COLUMNS = 10_000, 4
pytestmark = needs("icarus")


def numbers(low, high, *shape):
    """Random ones, and all combinations of the ends at the beginning."""
    values = torch.randint(low, high + 1, (VECTORS, *shape))
    ends = torch.cartesian_prod(*[torch.tensor([low, high])] * 2).repeat_interleave(4, 0)
    values[: len(ends), ..., 0] = ends[:, :1] if values.dim() == 3 else ends[:, 0]
    return values


@pytest.mark.parametrize(("bits", "signed"), [(8, True), (8, False), (4, True), (4, False)])
def test_two_products_share_a_multiplier(bits, signed):
    x_bits, most = 8 + (not signed), (1 << bits - 1) - 1
    weights = numbers(-most, most, 2, COLUMNS)
    x = numbers(-128, 127, COLUMNS) if signed else numbers(0, 255, COLUMNS)
    first, second = weights.unbind(1)
    codes = torch.cat(pair_codes(first, second), 1)
    made = run_vectors(pair_dot_product(COLUMNS, bits, x_bits), {"weights": codes, "x": x})
    assert torch.equal(made["first_sum"], (first * x).sum(1))
    assert torch.equal(made["second_sum"], (second * x).sum(1))


def test_all_pairs_of_bytes_with_every_sign():
    """Every weight of 8 bits beside the ends and 0 of the other, times the ends and 0 of x."""
    every, few = torch.arange(-127, 128), torch.tensor([-127, -1, 0, 1, 127])
    grid = torch.cartesian_prod(every, few, torch.tensor([-256, -255, -1, 0, 1, 255]))
    grid = torch.cat((grid, grid[:, [1, 0, 2]]))
    first, second, x = grid.unbind(1)
    made = run_vectors(
        pair_dot_product(1, 8, 9), {"weights": torch.stack(pair_codes(first, second), 1), "x": x}
    )
    assert torch.equal(made["first_sum"], first * x)
    assert torch.equal(made["second_sum"], second * x)


def negative(weights):
    """How many, by row: what the lane's sum leaves to the bias."""
    return (weights < 0).sum(1)


@pytest.mark.parametrize("signed", [True, False])
def test_powers_of_two_are_shifts(signed):
    weights = torch.ldexp(
        torch.randint(-1, 2, (VECTORS, COLUMNS)), torch.randint(0, 7, (VECTORS, COLUMNS))
    ).long()
    x = numbers(-128, 127, COLUMNS) if signed else numbers(0, 255, COLUMNS)
    module = shift_dot_product(COLUMNS, 8 + (not signed))
    made = run_vectors(module, {"weights": shift_codes(weights), "x": x})
    assert torch.equal(made["sum"] + negative(weights), (weights * x).sum(1))


@pytest.mark.parametrize("columns", [1, 6, 7, 64])
def test_bits_that_agree_are_counted(columns):
    weights, x = (torch.randint(0, 2, (VECTORS, columns)) for _ in range(2))
    made = run_vectors(binary_dot_product(columns), {"weights": weights, "x": x})
    assert torch.equal(made["sum"], ((2 * weights - 1) * (2 * x - 1)).sum(1))


@pytest.mark.parametrize("scheme", [FixedPoint(8), FixedPoint(4), PowerOfTwo(4), Binary()])
def test_levels_of_schemes_are_what_lanes_compute_with(scheme):
    """Weights that a scheme projects, as its whole numbers, times one vector a row."""
    weight = scheme.project(torch.randn(2 * 1000, COLUMNS))
    levels, scales = whole_levels(scheme, weight)
    levels, x = levels.long(), torch.randint(-128, 128, (1000, COLUMNS))
    if isinstance(scheme, FixedPoint):
        codes = torch.cat(pair_codes(levels[:1000], levels[1000:]), 1)
        made = run_vectors(pair_dot_product(COLUMNS, scheme.bits, 8), {"weights": codes, "x": x})
        sums = torch.cat((made["first_sum"], made["second_sum"]))
        x = x.repeat(2, 1)
    elif isinstance(scheme, PowerOfTwo):
        levels, weight, scales = levels[:1000], weight[:1000], scales[:1000]
        module = shift_dot_product(COLUMNS, 8)
        sums = run_vectors(module, {"weights": shift_codes(levels), "x": x})["sum"] + negative(levels)
    else:
        levels, weight, scales = levels[:1000], weight[:1000], scales[:1000]
        x = x.sign() + (x == 0).long()
        bits = {"weights": (levels > 0).long(), "x": (x > 0).long()}
        sums = run_vectors(binary_dot_product(COLUMNS), bits)["sum"]
    assert torch.equal(sums, (levels * x).sum(1))
    assert torch.allclose(sums * scales, (weight.double() * x).sum(1), atol=1e-9)


@needs("verilator")
@pytest.mark.parametrize(
    "module",
    [
        pair_dot_product(5, 8, 9),
        pair_dot_product(4, 4, 8),
        shift_dot_product(3, 9),
        binary_dot_product(13),
    ],
    ids=lambda module: module.name,
)
def test_the_strictest_check_finds_nothing(module, tmp_path):
    assert lint(module, tmp_path) == ""
