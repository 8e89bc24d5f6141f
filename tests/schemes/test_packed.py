"""Packed forms: exact, and as small as their indices allow."""

import pytest
import torch
from torch import Tensor

from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.packed import Coordinates
from spokeshave.schemes.unstructured import Unstructured


def bits(weight: Tensor) -> Tensor:
    return weight.view(torch.int32)


@pytest.mark.parametrize("scheme", [Unstructured(0), BlockColumnRow(0, (2, 2))])
def test_denormals_and_signs_survive(scheme) -> None:
    weight = torch.tensor([[1e-45, -1e-45, -3.0], [1e-38, 2.0, -1e38]])
    assert torch.equal(bits(scheme.pack(weight).unpack()), bits(weight))


def test_negative_zeros_survive_where_they_are_stored() -> None:
    weight = torch.tensor([[-0.0, 1.0, -0.0, 0.0], [2.0, -3.0, 0.0, 0.0]])
    unpacked = BlockColumnRow(0, (2, 2)).pack(weight).unpack()
    assert torch.signbit(unpacked).tolist() == [[True, False, False, False], [False, True, False, False]]


def test_sizes_count_indices() -> None:
    weight = torch.zeros(8, 300)
    weight[0:4, 200:220] = 1.0
    blocks = BlockColumnRow(0.9, (4, 20)).pack(weight)
    (block,) = blocks.blocks
    assert (block.rows.dtype, block.columns.dtype) == (torch.uint8, torch.int16)
    assert blocks.nbytes == 80 * 4 + 4 * 1 + 20 * 2 + (1 + 2)
    coordinates = Unstructured(0.9).pack(weight)
    assert coordinates.nbytes == 80 * 4 + 80 * 2 + 9 * 1
    assert coordinates.row_pointers.tolist() == [0, 20, 40, 60, 80, 80, 80, 80, 80]


def test_wide_matrices_get_wide_indices() -> None:
    weight = torch.zeros(1, 40_000)
    weight[0, -1] = 5.0
    packed = Coordinates.of(weight)
    assert packed.columns.dtype == torch.int32
    assert torch.equal(packed.unpack(), weight)


def test_convolutions_keep_their_shape() -> None:
    weight = BlockColumnRow(0.5, (3, 5)).project(
        torch.randn(7, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    )
    packed = BlockColumnRow(0.5, (3, 5)).pack(weight)
    assert packed.shape == (7, 3, 3, 3)
    assert torch.equal(packed.unpack(), weight)
