"""Curves against the activations that they stand for, and kernels against the curves' own arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.compiler.conftest import run_program
from tests.compiler.emulated_amx import emulated_amx
from torch import nn

from spokeshave.compiler.activation import activate
from spokeshave.compiler.emit.lower import lower, supports
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.isa import best_here, instruction_set, runs_here
from spokeshave.compiler.operations import Activation, Quantization
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.quantization import executor
from spokeshave.compiler.quantization.arithmetic import fused_multiply_add
from spokeshave.compiler.quantization.choose import Int8, joined, lower_precision
from spokeshave.compiler.quantization.curves import CURVED, TOLERANCE, curve_of
from spokeshave.compiler.quantization.executor import finish
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.segments import cut
from spokeshave.export import export_network

LEAST = {"gelu": -0.17, "gelu_tanh": -0.17, "silu": -0.278, "sigmoid": 0.0, "tanh": -1.0}
PLAIN = replace(instruction_set("avx512"), march="x86-64", extra=("-Wno-psabi",))
"""Vectors of 16 lanes without instructions for them: the C that any CPU runs."""


def quantization(kind, largest):
    least = LEAST[kind]
    scale = (largest - least) / 255
    return Quantization(scale, round(-least / scale))


@pytest.mark.parametrize("largest", [0.75, 1.0, 3.0, 8.0, 40.0])
@pytest.mark.parametrize("kind", CURVED)
def test_a_curve_is_within_its_tolerance_everywhere(kind, largest):
    output = quantization(kind, min(largest, 1.0) if kind in ("sigmoid", "tanh") else largest)
    curve = curve_of(Activation(kind), output)
    x = np.concatenate(
        [np.linspace(-30, 50, 300_001), np.geomspace(50, 1e9, 100), -np.geomspace(30, 1e9, 100)]
    )
    exact = activate(Activation(kind), torch.from_numpy(x)).numpy() / output.scale + output.zero_point
    places = np.rint(x * curve.scale + curve.offset).clip(-(2**15), 2**15 - 1).astype(np.int64)
    levels, between = curve.levels(places).clip(0, 255), (exact > 1) & (exact < 254)
    assert np.abs(levels - exact.clip(0, 255)).max() <= 0.5 + TOLERANCE
    assert (levels != np.rint(exact))[between].mean() < 0.02


def in_16_bits(curve, places):
    """The curve's arithmetic as instructions do it: every step wraps around."""
    product = lambda a, b: ((a.astype(np.int64) * b + 2**14) >> 15).astype(np.int16)  # noqa: E731
    within = ((places & 2047) << 4).astype(np.int16)
    constant, slope, bend = curve.table[:, places >> 11 & 31]
    return (product(product(bend, within) + slope, within) + constant) >> 7


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CURVED), st.floats(-9, 0.5), st.integers(0, 255))
@example("silu", np.log10(0.0007944349196950337), 97)
@example("gelu", np.log10(0.00028310711212359545), 82)
@example("tanh", np.log10(9.717949876323009e-06), 172)
@example("sigmoid", -8.0, 0)
def test_a_curve_of_any_range_is_right_or_refused(kind, digits, zero_point):
    output = Quantization(10.0**digits, zero_point)
    curve = curve_of(Activation(kind), output)
    if curve is None:
        return
    places = np.arange(-(2**15), 2**15)
    x = (places - curve.offset) / curve.scale
    x[0], x[-1] = -1e6, 1e6
    exact = activate(Activation(kind), torch.from_numpy(x)).numpy() / output.scale + output.zero_point
    levels = in_16_bits(curve, places).clip(0, 255)
    assert np.abs(levels - exact.clip(0, 255)).max() <= 0.5 + TOLERANCE


def test_every_place_gives_a_level_that_16_bits_hold():
    curve = curve_of(Activation("gelu"), quantization("gelu", 3.0))
    levels = curve.levels(np.arange(-(2**15), 2**15))
    assert levels.min() >= -256
    assert levels.max() == 255


@pytest.mark.parametrize(
    ("activation", "output"),
    [
        (None, Quantization(0.1, 0)),
        (Activation("relu"), Quantization(0.1, 0)),
        (Activation("gelu"), Quantization(0.1, 0, 0, 15)),
        (Activation("gelu"), Quantization(5.0, 0)),
    ],
)
def test_no_curve_where_another_way_is_as_good_or_needed(activation, output):
    assert curve_of(activation, output) is None


def finish_by_curve(operation, after, sums, residual):
    curve = curve_of(after.activation, operation.output) if operation.output else None
    if curve is None or sums.is_meta:
        return finish(operation, after, sums, residual)
    places = curve.requantization(after)
    along = fused_multiply_add(sums.float(), places.scale, places.shift).round().clamp(-(2**15), 2**15 - 1)
    return torch.from_numpy(curve.levels(along.long().numpy()).clip(0, 255)).to(torch.uint8)


@pytest.mark.parametrize(("activation", "tokens"), [(nn.GELU(), 40), (nn.SiLU(), 33)])
def test_kernels_compute_what_curves_say(activation, tokens, monkeypatch):
    monkeypatch.setattr(executor, "finish", finish_by_curve)
    torch.manual_seed(0)
    network, x = (
        nn.Sequential(nn.Linear(20, 67), activation, nn.Linear(67, 9)).eval(),
        torch.randn(2, tokens, 20),
    )
    graph = optimise(import_program(export_network(network, x)).graph)
    parts, _ = lower_precision(graph, cut(graph, supports), Int8([x], error_budget=None), best_here())
    whole = joined(graph, parts)
    (expected,) = run_reference(whole, [x])
    for isa in filter(runs_here, (instruction_set("avx512"), emulated_amx(), PLAIN)):
        program = lower(whole, isa, {})
        assert any(getattr(kernel, "curve", False) for kernel in program.kernels)
        (found,) = run_program(program, whole, [x], isa)
        assert torch.equal(found, expected), isa.extra
