"""int8 weights: rows that lie on a grid keep it."""

import pytest
import torch
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.quantization.weights import quantize_rows, rounded_again
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.unstructured import Unstructured

SHAPES = [(24, 16, 3, 3), (7, 50), (3, 1)]
QUANTIZERS = [
    FixedPoint(2),
    FixedPoint(4),
    FixedPoint(8),
    PowerOfTwo(4),
    Binary(),
    FixedPoint(4, per="tensor"),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scheme", QUANTIZERS, ids=str)
def test_weights_of_few_levels_are_not_rounded_again_even_behind_a_folded_norm(scheme, shape):
    generator = torch.Generator().manual_seed(0)
    weight = scheme.project(torch.randn(shape, generator=generator))
    factor = torch.rand(shape[0], generator=generator).view(-1, *(1 for _ in shape[1:])) + 0.5
    folded = weight * factor
    levels, scales = quantize_rows(folded)
    assert levels.dtype == torch.int8
    torch.testing.assert_close(levels * scales.view_as(factor), folded, rtol=2e-6, atol=0)


def test_so_are_pruned_ones():
    scheme = BlockColumnRow(0.75, block=(8, 16)) & FixedPoint(4)
    weight = scheme.project(torch.randn(32, 48, generator=torch.Generator().manual_seed(0)))
    levels, scales = quantize_rows(weight)
    torch.testing.assert_close(levels * scales[:, None], weight, rtol=2e-6, atol=0)
    assert levels.abs().max() <= 7


@pytest.mark.parametrize(
    "scheme", [Codebook(4), PowerOfTwo(5), BlockColumnRow(0.75, (8, 16)) & Codebook(3)], ids=str
)
def test_few_levels_that_no_byte_holds_are_rounded_with_a_reason(scheme):
    weight = scheme.project(torch.randn(32, 16, 3, 3, generator=torch.Generator().manual_seed(0)))
    reason = rounded_again(weight)
    lost = float(reason.rsplit("by up to ")[1].split("%")[0]) / 100
    levels, scales = quantize_rows(weight)
    largest = weight.flatten(1).abs().amax(1).clamp(min=1e-9).view(-1, 1, 1, 1)
    assert 0 < lost <= 0.51 / 127
    assert lost == pytest.approx(
        float(((levels * scales.view_as(largest) - weight).abs() / largest).max()), abs=1e-4
    )


@pytest.mark.parametrize("scheme", [*QUANTIZERS, None, BlockColumnRow(0.9, block=(8, 16))], ids=str)
def test_what_int8_keeps_and_weights_of_many_levels_have_no_such_reason(scheme):
    weight = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    assert rounded_again(weight if scheme is None else scheme.project(weight)) == ""
    assert rounded_again(torch.zeros(4, 4)) == ""


def test_other_weights_are_rounded_to_the_nearest_of_255_levels():
    weight = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    weight[7] = 0
    levels, scales = quantize_rows(weight)
    assert torch.equal(levels.abs().amax(1) == 127, torch.arange(50) != 7)
    assert ((levels * scales[:, None] - weight).abs() <= scales[:, None] * 0.5001).all()
    assert scales[7] == 1


def test_a_grid_of_more_steps_than_a_byte_has_is_none():
    weight = torch.arange(1, 301).float()[None] / 300
    levels, _ = quantize_rows(weight)
    assert levels.max() == 127


@pytest.mark.parametrize("scheme", [FixedPoint(8), FixedPoint(4), Unstructured(0.5) & FixedPoint(8)], ids=str)
def test_levels_of_a_transposed_convolution_go_by_inputs_and_are_rounded_again(scheme):
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.ConvTranspose2d(8, 12, 3, 2, 1, 1)).eval(), torch.randn(2, 8, 6, 6)
    plan = Plan((Rule("0", scheme),))
    dense = compile_network(network, x, precision="int8", calibration=[x]).manifest.layers
    begin(OneShot(), network, plan).finish()
    levelled = compile_network(network, x, plan, precision="int8", calibration=[x]).manifest.layers
    assert [layer.precision for layer in (*dense, *levelled)] == ["int8", "int8"]
    assert dense[0].reason == ""
    assert "levels by inputs" in levelled[0].reason
