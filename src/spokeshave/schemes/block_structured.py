"""Columns of blocks and rows of the whole matrix: RTMobile's block-based structured pruning, BSP (arXiv 2002.11474)."""

from dataclasses import dataclass

from torch import Tensor

from spokeshave.schemes.block_choice import whole_rows
from spokeshave.schemes.block_packing import dense_blocks, tiling_of
from spokeshave.schemes.checks import as_block, block_reason, check_member, check_rates
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.packed import DenseBlocks
from spokeshave.schemes.ranking import kept_count, support
from spokeshave.schemes.scheme import Composable, as_matrix
from spokeshave.schemes.tiling import Tiling, used

NAME = "block_structured"


@dataclass(frozen=True)
class BlockStructured(Composable):
    """Blocks keep whole columns, the matrix whole rows: `x . x . | . x x .` above `. . . . | . . . .`.

    `sparsity` is the fraction of the weights that is removed, `row_sparsity` the fraction of the matrix' rows that
    is removed (rounded down), whichever they are. Each block keeps as many columns as the others, give or take one, so
    that the sparsity is met.

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
        """A block must not be larger than the matrix."""
        return block_reason(self.block, shape)

    def contains(self, weight: Tensor) -> bool:
        """Whether no more rows of the matrix, and columns of each block, are in use than may be."""
        if self.supports(tuple(weight.shape)):
            return False
        tiling, kept = tiling_of(weight, self.block), support(as_matrix(weight))
        columns = used(tiling.split(kept)).columns.sum(1).cpu()
        rows_fit = int(kept.any(1).sum()) <= self._row_count(tiling)
        return rows_fit and bool((columns <= self._column_counts(tiling)).all())

    def pack(self, weight: Tensor) -> DenseBlocks:
        """Store the used rows and columns of each block; raises SpokeshaveError outside the set."""
        check_member(NAME, self, weight, "it uses too many rows, or its blocks too many columns")
        return dense_blocks(weight, self.block)

    def _keep(self, worth: Tensor) -> Tensor:
        tiling = tiling_of(worth, self.block)
        columns = self._column_counts(tiling).to(worth.device)
        kept = whole_rows(tiling.split(as_matrix(worth)), tiling, self._row_count(tiling), columns)
        return tiling.join(kept.mask()).reshape(worth.shape)

    def _row_count(self, tiling: Tiling) -> int:
        return tiling.height - kept_count(tiling.height, 1 - self.row_sparsity)

    def _column_counts(self, tiling: Tiling) -> Tensor:
        budget = kept_count(tiling.height * tiling.width, self.sparsity)
        return tiling.shared_out(budget // self._row_count(tiling))
