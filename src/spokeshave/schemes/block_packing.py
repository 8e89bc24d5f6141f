"""A weight whose blocks keep whole rows and columns -> dense blocks."""

import torch
import torch.nn.functional as F
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
    order = torch.arange(tiling.width) if order is None else _ascending_in_blocks(order, tiling)
    split = tiling.split(matrix[:, order])
    kept = used(split != 0)
    tops = torch.arange(tiling.tall).repeat_interleave(tiling.wide) * block[0]
    lefts = torch.arange(tiling.wide).repeat(tiling.tall) * block[1]
    rows, columns = _numbers(kept.rows, tops), order[_numbers(kept.columns, lefts)]
    parts = zip(
        _by_block(rows.to(index_type(tiling.height - 1)), kept.rows.sum(1)),
        _by_block(columns.to(index_type(tiling.width - 1)), kept.columns.sum(1)),
        _by_block(split[kept.mask()], kept.rows.sum(1) * kept.columns.sum(1)),
        strict=True,
    )
    blocks = tuple(
        DenseBlock(rows, columns, values.view(len(rows), -1)) for rows, columns, values in parts if len(rows)
    )
    return DenseBlocks(tuple(weight.shape), blocks, weight.dtype)


def _ascending_in_blocks(order: Tensor, tiling: Tiling) -> Tensor:
    """The same columns in each block, those of one block in ascending order."""
    beyond = tiling.wide * tiling.block[1] - tiling.width
    segments = F.pad(order, (0, beyond), value=tiling.width).view(tiling.wide, -1)
    return segments.sort(1).values.flatten()[: tiling.width]


def _numbers(kept: Tensor, starts: Tensor) -> Tensor:
    """The numbers in the matrix of kept rows, or columns, block by block."""
    blocks, within = kept.nonzero(as_tuple=True)
    return starts[blocks] + within


def _by_block(values: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
    return values.split(counts.tolist())
