"""Blocks that keep as many rows and columns as each is worth: CSB, compressed structured blocks (arXiv 2005.05758)."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from spokeshave.schemes.block_packing import dense_blocks, tiling_of
from spokeshave.schemes.checks import (
    as_block,
    block_reason,
    check_fraction,
    check_member,
    empty_reason,
    shape_of,
)
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.packed import DenseBlocks
from spokeshave.schemes.ranking import kept_count, support
from spokeshave.schemes.scheme import Composable, as_matrix
from spokeshave.schemes.tiling import Kept, column_scores, row_scores, used

NAME = "compressed_blocks"
ROUNDS = 4  # rows and columns in turn; hardly any block still changes then
BISECTIONS = 40


@dataclass(frozen=True)
class CompressedBlocks(Composable):
    """Each block keeps any rows and any columns, strong blocks more: `x . x x | . . . .` above `x . x x | . x . .`.

    `sparsity` is the fraction of the weights that is removed. One threshold holds for the whole matrix: a row or column
    of a block stays while the mean over its kept weights is above it. Rows and columns that survive lie where the
    others are strong, so their rates do not multiply; the threshold is bisected until what is left fits the budget, and
    columns and rows of blocks fill what remains of it, or all of it where that keeps more. The choice of rows and
    columns together is hard, the projection therefore a good point of the set, not always the nearest.
    """

    sparsity: float
    block: tuple[int, int] = (64, 64)

    def __post_init__(self) -> None:
        check_fraction(NAME, "sparsity", self.sparsity)
        object.__setattr__(self, "block", as_block(NAME, self.block))

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the rows and columns of blocks whose mean squared weight, or saliency, is above the threshold."""
        return project_by(NAME, self, weight, saliency, self._keep)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """A block must not be larger than the matrix, and the sparsity leave a weight."""
        if reason := block_reason(self.block, shape):
            return reason
        total = prod(shape)
        return empty_reason(kept_count(total, self.sparsity), self.sparsity, 1, total, "weight")

    def contains(self, weight: Tensor) -> bool:
        """Whether used rows times used columns, over all blocks, are within (1 - sparsity) * size (`kept_count`)."""
        if self.supports(shape_of(weight)):
            return False
        kept = used(tiling_of(weight, self.block).split(support(as_matrix(weight))))
        return kept.size() <= kept_count(weight.numel(), self.sparsity)

    def pack(self, weight: Tensor) -> DenseBlocks:
        """Store the used rows and columns of each block; raises SpokeshaveError outside the set."""
        check_member(NAME, self, weight, "its blocks use too many rows and columns")
        return dense_blocks(weight, self.block)

    def _keep(self, worth: Tensor) -> Tensor:
        tiling, budget = tiling_of(worth, self.block), kept_count(worth.numel(), self.sparsity)
        tiles = tiling.split(as_matrix(worth))
        whole = used(tiling.split(torch.ones_like(as_matrix(worth), dtype=torch.bool)))
        nothing = Kept(torch.zeros_like(whole.rows), torch.zeros_like(whole.columns))
        starts = (_bisected(tiles, whole, budget), nothing)
        kept = _best(tiles, [_filled(tiles, start, whole, budget) for start in starts])
        return tiling.join(kept.mask()).reshape(worth.shape)


def _bisected(tiles: Tensor, whole: Kept, budget: int) -> Kept:
    """What stays at the lowest threshold at which it fits the budget."""
    low, high = 0.0, float(tiles.max())
    found = _above(tiles, whole, high)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        kept = _above(tiles, whole, middle)
        if kept.size() > budget:
            low = middle
        else:
            high, found = middle, kept
        if 0.999 * budget <= found.size() <= budget:
            break
    return found


def _above(tiles: Tensor, whole: Kept, threshold: float) -> Kept:
    """Rows and columns of each block whose means are above the threshold, found from both sides."""
    by_rows = _in_turn(tiles, whole.columns, threshold)
    turned = _in_turn(tiles.transpose(1, 2), whole.rows, threshold)
    by_columns = _turned(turned)
    better = (_surplus(tiles, by_rows, threshold) >= _surplus(tiles, by_columns, threshold))[:, None]
    return Kept(
        torch.where(better, by_rows.rows, by_columns.rows),
        torch.where(better, by_rows.columns, by_columns.columns),
    )


def _in_turn(tiles: Tensor, columns: Tensor, threshold: float) -> Kept:
    for _ in range(ROUNDS):
        rows = row_scores(tiles, columns) > threshold * columns.sum(1, keepdim=True)
        columns = column_scores(tiles, rows) > threshold * rows.sum(1, keepdim=True)
    return Kept(rows & columns.any(1, keepdim=True), columns)


def _surplus(tiles: Tensor, kept: Kept, threshold: float) -> Tensor:
    """What the kept weights of each block are worth above the threshold."""
    worth = (row_scores(tiles, kept.columns) * kept.rows).sum(1)
    return worth - threshold * kept.rows.sum(1) * kept.columns.sum(1)


def _filled(tiles: Tensor, kept: Kept, whole: Kept, budget: int) -> Kept:
    """More columns and rows while they fit: columns first, or rows first, whichever keeps more."""
    turned_tiles, turned_whole = tiles.transpose(1, 2), _turned(whole)
    columns_first = _more_columns(tiles, kept, whole, budget)
    columns_first = _turned(_more_columns(turned_tiles, _turned(columns_first), turned_whole, budget))
    rows_first = _turned(_more_columns(turned_tiles, _turned(kept), turned_whole, budget))
    rows_first = _more_columns(tiles, rows_first, whole, budget)
    return _best(tiles, [columns_first, rows_first])


def _best(tiles: Tensor, choices: list[Kept]) -> Kept:
    """The choice that keeps most, the first of equals."""
    return max(choices, key=lambda kept: float(_surplus(tiles, kept, 0).sum()))


def _more_columns(tiles: Tensor, kept: Kept, whole: Kept, budget: int) -> Kept:
    """Columns, those worth most a weight first, while all fit; a block that is empty takes them with all rows."""
    rows = torch.where(kept.rows.any(1, keepdim=True), kept.rows, whole.rows)
    price = rows.sum(1, keepdim=True).expand(kept.columns.shape)
    left = budget - kept.size()
    open_ = whole.columns & ~kept.columns & (price <= left)
    mean = torch.where(open_, column_scores(tiles, rows) / price, -1).flatten()
    order = mean.argsort(descending=True, stable=True)
    fits = (price.flatten()[order].cumsum(0) <= left) & (mean[order] >= 0)
    added = torch.zeros_like(fits).index_put((order[fits],), torch.tensor(True, device=fits.device))
    columns = kept.columns | added.view(kept.columns.shape)
    return Kept(rows & columns.any(1, keepdim=True), columns)


def _turned(kept: Kept) -> Kept:
    """The same of the transposed blocks."""
    return Kept(kept.columns, kept.rows)
