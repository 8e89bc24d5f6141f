"""A weight whose blocks keep whole rows and columns -> dense blocks."""

import torch
from torch import Tensor

from spokeshave.schemes.packed import DenseBlock, DenseBlocks, index_type
from spokeshave.schemes.scheme import as_matrix
from spokeshave.schemes.tiling import Tiling, used


def tiling_of(weight: Tensor, block: tuple[int, int]) -> Tiling:
    """The weight's matrix in blocks."""
    return Tiling(weight.shape[0], weight[0].numel(), block)


def dense_blocks(weight: Tensor, block: tuple[int, int], order: Tensor | None = None) -> DenseBlocks:
    """Store the used rows and columns of each block; `order`: the columns as the blocks have them side by side."""
    tiling, matrix = tiling_of(weight, block), as_matrix(weight.detach().cpu())
    order = torch.arange(tiling.width) if order is None else order
    matrix = matrix[:, order]
    kept = used(tiling.split(matrix != 0))
    tops = torch.arange(tiling.tall).repeat_interleave(tiling.wide) * block[0]
    lefts = torch.arange(tiling.wide).repeat(tiling.tall) * block[1]
    row_type, column_type = index_type(tiling.height - 1), index_type(tiling.width - 1)
    blocks = tuple(
        _dense_block(rows.to(row_type), order[columns].to(column_type), matrix[rows[:, None], columns])
        for rows, columns in zip(_numbers(kept.rows, tops), _numbers(kept.columns, lefts), strict=True)
        if len(rows)
    )
    return DenseBlocks(tuple(weight.shape), blocks, weight.dtype)


def _dense_block(rows: Tensor, columns: Tensor, values: Tensor) -> DenseBlock:
    """A block with its columns in ascending order."""
    ascending = columns.argsort()
    return DenseBlock(rows, columns[ascending], values[:, ascending])


def _numbers(kept: Tensor, starts: Tensor) -> tuple[Tensor, ...]:
    """For each block the numbers in the matrix of its kept rows, or columns."""
    blocks, within = kept.nonzero(as_tuple=True)
    return (starts[blocks] + within).split(kept.sum(1).tolist())
