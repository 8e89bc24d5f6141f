"""int8 weights: rows that lie on a grid keep it."""

import pytest
import torch

from spokeshave.compiler.quantization.weights import quantize_rows
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.quantizers import Binary, FixedPoint, PowerOfTwo

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
