"""Columns of blocks and rows of the whole matrix: RTMobile's block-based structured pruning, BSP (arXiv 2002.11474)."""

from dataclasses import dataclass
from math import ceil, prod

import torch
from torch import Tensor

from spokeshave.schemes.block_choice import EvenColumns, whole_rows
from spokeshave.schemes.block_packing import dense_blocks, tiling_of
from spokeshave.schemes.checks import (
    as_block,
    block_reason,
    check_member,
    check_rates,
    empty_reason,
    shape_of,
)
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.packed import DenseBlocks
from spokeshave.schemes.ranking import support
from spokeshave.schemes.scheme import Composable, as_matrix
from spokeshave.schemes.tiling import Kept, Tiling, used

NAME = "block_structured"


@dataclass(frozen=True)
class BlockStructured(Composable):
    """Blocks keep whole columns, the matrix whole rows: `x . x . | . x x .` above `. . . . | . . . .`.

    `sparsity` is the fraction of the weights that is removed, `row_sparsity` the fraction of the matrix' rows that
    is removed (rounded down), whichever they are. Each block keeps as many columns as the others of its width, give or
    take one: as many one more as meet the sparsity, where they are worth most.

    The projection chooses columns first, then rows on what is left, then both in turn until neither changes; without
    row sparsity it is exact.
    """

    sparsity: float
    block: tuple[int, int] = (64, 64)
    row_sparsity: float = 0.0

    def __post_init__(self) -> None:
        check_rates(NAME, self.sparsity, self.row_sparsity)
        object.__setattr__(self, "block", as_block(NAME, self.block))

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the rows, and columns of blocks, with the largest sums of squared weights, or of saliency."""
        return project_by(NAME, self, weight, saliency, self._keep)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """A block must not be larger than the matrix, and the sparsity leave a column of one."""
        if reason := block_reason(self.block, shape):
            return reason
        tiling = Tiling(shape[0], prod(shape[1:]), self.block)
        column = self._column(tiling) if self.row_sparsity else int(tiling.heights().min())
        kept = 2 * self._wanted(tiling) > column if self.row_sparsity else self._even(tiling).size() > 0
        return empty_reason(kept, self.sparsity, column, prod(shape), "column of a block")

    def contains(self, weight: Tensor) -> bool:
        """Whether rows and columns in use are as few as can be: columns of each block, and what they cost together."""
        if self.supports(shape_of(weight)):
            return False
        tiling, kept = tiling_of(weight, self.block), support(as_matrix(weight))
        columns = used(tiling.split(kept)).columns.sum(1).cpu()
        if not self.row_sparsity:
            return self._even(tiling).holds(columns)
        rows = tiling.split(kept.any(1, keepdim=True).expand(kept.shape)).any(2).sum(1).cpu()
        least, most = tiling.even_columns(self._wanted(tiling) / (self._row_count(tiling) * tiling.width))
        spent = int((rows * torch.maximum(columns, least)).sum())
        rows_fit = int(kept.any(1).sum()) <= self._row_count(tiling)
        return (
            rows_fit
            and bool((columns <= most).all())
            and spent <= self._wanted(tiling) + self._column(tiling) / 2
        )

    def pack(self, weight: Tensor) -> DenseBlocks:
        """Store the used rows and columns of each block; raises SpokeshaveError outside the set."""
        check_member(NAME, self, weight, "it uses too many rows, or its blocks too many columns")
        return dense_blocks(weight, self.block)

    def _keep(self, worth: Tensor) -> Tensor:
        tiling = tiling_of(worth, self.block)
        tiles = tiling.split(as_matrix(worth))
        if self.row_sparsity:
            kept = whole_rows(tiles, tiling, self._row_count(tiling), self._wanted(tiling))
        else:
            rows = torch.ones(tiles.shape[:2], dtype=torch.bool, device=worth.device)
            kept = Kept(rows, self._even(tiling).choose(tiles.sum(1)))
        return tiling.join(kept.mask()).reshape(worth.shape)

    def _wanted(self, tiling: Tiling) -> float:
        return tiling.height * tiling.width * (1 - self.sparsity)

    def _even(self, tiling: Tiling) -> EvenColumns:
        return EvenColumns.of(tiling, tiling.heights(), self._wanted(tiling))

    def _row_count(self, tiling: Tiling) -> int:
        return ceil(tiling.height * (1 - self.row_sparsity) - 1e-6)

    def _column(self, tiling: Tiling) -> int:
        """Weights that a block's column has at most when rows go as well."""
        return min(self.block[0], self._row_count(tiling))
