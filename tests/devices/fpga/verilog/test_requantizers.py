"""Requantizers in a simulator, held to the executor's arithmetic."""

import pytest
import torch
from tests.devices.fpga.verilog.simulators import needs

from spokeshave.compiler.quantization.rescaling import multipliers, rescaled
from spokeshave.devices.fpga.verilog.requantizers import requantizer
from spokeshave.devices.fpga.verilog.simulation import lint
from spokeshave.devices.fpga.verilog.vectors import run_vectors

VECTORS = 10_000
pytestmark = needs("icarus")


def expected(sums, bias, multiplier, shift, low, high, zero_point):
    made = rescaled(sums + bias, multiplier, shift, "once", torch.zeros((), dtype=torch.int64))
    return torch.minimum(torch.maximum(made, low), high) + zero_point


def given(largest):
    """Sums up to a size, and biases; bounds and zero point are those of a layer."""
    sums = torch.randint(-largest, largest, (VECTORS,))
    sums[:4] = torch.tensor([-largest, largest - 1, 0, -1])
    bias = torch.randint(-largest, largest, (VECTORS,))
    bias[:2] = sums[:2]
    zero_point = torch.randint(0, 256, ()).expand(VECTORS)
    low = -zero_point
    return {"sum": sums, "bias": bias, "low": low, "high": low + 255, "zero_point": zero_point}


def held_to_the_executor(kind, inputs, multiplier, shift):
    module = requantizer(kind, 32)
    factors = {"multiplier": multiplier} if kind == "multiplier" else {}
    made = run_vectors(module, {**inputs, **factors, "shift": shift})["level"]
    wanted = expected(
        inputs["sum"],
        inputs["bias"],
        multiplier,
        shift,
        inputs["low"],
        inputs["high"],
        inputs["zero_point"],
    )
    assert torch.equal(made, wanted)
    assert len(wanted.unique()) > 200


@pytest.mark.parametrize("largest", [300, 1 << 14, 1 << 31])
def test_by_shifts(largest):
    shift = torch.randint(0, 34, (VECTORS,)) % (largest.bit_length() + 1)
    held_to_the_executor("shift", given(largest), torch.ones_like(shift), shift)


def test_wide_sums_by_shifts():
    zeros = torch.zeros(VECTORS, dtype=torch.int64)
    sums, shift = torch.randint(-1 << 47, 1 << 47, (VECTORS,)), torch.randint(30, 50, (VECTORS,))
    inputs = {"sum": sums, "bias": torch.randint(-1 << 31, 1 << 31, (VECTORS,)), "zero_point": zeros}
    bounds = {"low": zeros - 128, "high": zeros + 127}
    made = run_vectors(requantizer("shift", 48), {**inputs, **bounds, "shift": shift})["level"]
    wanted = expected(sums, inputs["bias"], zeros + 1, shift, *bounds.values(), zeros)
    assert torch.equal(made, wanted % 256)


@pytest.mark.parametrize("largest", [1 << 12, 1 << 29])
def test_by_multipliers(largest):
    factors = torch.rand(VECTORS, dtype=torch.float64) * 200 / largest
    multiplier, shift, _ = multipliers(factors)
    held_to_the_executor("multiplier", given(largest), multiplier, shift)


def test_halves_are_rounded_up():
    sums = torch.tensor([-3, -2, -1, 0, 1, 2, 3, 5])
    zeros = torch.zeros_like(sums)
    inputs = {
        "sum": sums,
        "bias": zeros,
        "shift": zeros + 1,
        "low": zeros - 128,
        "high": zeros + 127,
        "zero_point": zeros + 128,
    }
    made = run_vectors(requantizer("shift", 32), inputs)["level"] - 128
    assert made.tolist() == [-1, -1, 0, 0, 1, 1, 2, 3]


@needs("verilator")
@pytest.mark.parametrize("kind", ["shift", "multiplier"])
def test_the_strictest_check_finds_nothing(kind, tmp_path):
    assert lint(requantizer(kind, 32), tmp_path) == ""
