"""Cutting matrices into blocks and putting them together."""

import pytest
import torch

from spokeshave.schemes.tiling import Tiling, used


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (1, 5), (3, 4)])
def test_blocks_are_those_of_plain_slices(size) -> None:
    matrix = torch.arange(1.0, size[0] * size[1] + 1).view(size)
    tiling = Tiling(*size, (min(3, size[0]), 4))
    blocks = tiling.split(matrix)
    assert torch.equal(tiling.join(blocks), matrix)
    for index, block in enumerate(blocks):
        top, left = index // tiling.wide * tiling.block[0], index % tiling.wide * tiling.block[1]
        piece = matrix[top : top + tiling.block[0], left : left + tiling.block[1]]
        assert torch.equal(block[: piece.shape[0], : piece.shape[1]], piece)
        assert block.sum() == piece.sum()
        assert (
            int(tiling.heights()[index // tiling.wide]),
            int(tiling.widths()[index % tiling.wide]),
        ) == piece.shape


def test_segments_by_strip_and_by_block() -> None:
    tiling = Tiling(5, 7, (2, 3))
    segments = torch.arange(21).view(3, 7)
    assert torch.equal(tiling.by_strip(tiling.by_block(segments)), segments)
    assert tiling.by_block(segments)[2].tolist() == [6, 0, 0]


def test_used_rows_and_columns() -> None:
    kept = used(torch.tensor([[[1, 0, 1], [0, 0, 0]]]).bool())
    assert kept.rows.tolist() == [[True, False]]
    assert kept.columns.tolist() == [[True, False, True]]
    assert kept.mask().tolist() == [[[True, False, True], [False, False, False]]]
