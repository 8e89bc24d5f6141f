"""Blocks that keep whole columns and whole rows: GRIM's block column-row pruning (arXiv 2108.11033)."""

from dataclasses import dataclass
from math import prod
from typing import Literal

from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_choice import EvenColumns, balanced, competing, together
from spokeshave.schemes.block_packing import dense_blocks, tiling_of
from spokeshave.schemes.budgets import Budget, budget_of, is_within_budget, kinds_of
from spokeshave.schemes.checks import (
    as_block,
    block_reason,
    check_choice,
    check_member,
    check_rates,
    empty_reason,
    shape_of,
)
from spokeshave.schemes.column_groups import group_order, grouped, spread
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.packed import DenseBlocks
from spokeshave.schemes.ranking import support
from spokeshave.schemes.scheme import Composable
from spokeshave.schemes.tiling import Kept, Tiling, used

NAME = "block_column_row"


@dataclass(frozen=True)
class BlockColumnRow(Composable):
    """Each block of the matrix keeps whole columns and rows: `x . x . | . x x .` above `. . . . | . x x .`.

    `sparsity` is the fraction of the weights that is removed. `block` is the rows x columns of a block; the
    last blocks are smaller where it does not divide the matrix. A fraction `row_sparsity` of the blocks' rows goes,
    and columns until the sparsity is met. With budget "layer" the rows of all blocks compete, and so do their columns:
    strong blocks keep more. With "block" each keeps as many as the others: all but a fraction `row_sparsity`, rounded
    down, of its rows, and equally many columns, give or take one.

    With `column_group` above 1, columns are kept in groups of so many: neighbouring input channels of the same kernel
    position, which low-precision kernels read as one (4 in int8, 2 in bfloat16). A block is then of so many columns
    in the order of `column_groups.group_order`.

    The projection is exact without row sparsity. With it columns are chosen first, then rows on what is left,
    then both in turn: with "block" until neither changes; with "layer" both are then ranked over all blocks, by what
    they are worth for each weight that they keep, as long as that brings the point nearer.

    >>> import torch
    >>> BlockColumnRow(0.5, block=(2, 2)).project(torch.tensor([[1.0, -3.0, 5.0, 0.0], [2.0, 6.0, 4.0, 1.0]]))
    tensor([[ 0., -3.,  5.,  0.],
            [ 0.,  6.,  4.,  0.]])
    """

    sparsity: float
    block: tuple[int, int] = (8, 64)
    row_sparsity: float = 0.0
    budget: Literal["layer", "block"] = "layer"
    column_group: int = 1

    def __post_init__(self) -> None:
        check_rates(NAME, self.sparsity, self.row_sparsity)
        object.__setattr__(self, "block", as_block(NAME, self.block))
        check_choice(NAME, "budget", self.budget, ("layer", "block"))
        if type(self.column_group) is not int or self.column_group < 1 or self.block[1] % self.column_group:
            raise SpokeshaveError(
                f"{NAME}: column_group {self.column_group!r} does not divide {self.block[1]} columns"
            )

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the columns and rows of blocks with the largest sums of squared weights, or of saliency.

        A weight that already lies in the set stays as it is. Raises SpokeshaveError when a block is larger
        than the matrix.
        """
        return project_by(NAME, self, weight, saliency, self._keep)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """A block must not be larger than the matrix, column groups divide its inputs, the sparsity leave a column."""
        if reason := block_reason(self.block, shape):
            return reason
        if shape[1] % self.column_group:
            return f"{shape[1]} input channels are no whole groups of {self.column_group}"
        groups = prod(shape[1:]) // self.column_group
        tiling = Tiling(shape[0], groups, (self.block[0], self.block[1] // self.column_group))
        kept = self._budget(tiling).most if self.budget == "layer" else self._even(tiling).size()
        least = int(self._prices(tiling).min())
        return empty_reason(kept, self.sparsity, least, shape[0] * groups, "column of a block")

    def contains(self, weight: Tensor) -> bool:
        """Whether the rows and columns in use fit: few enough in each block, and together within the budget.

        The budget is (1 - sparsity) * size weights, as near as whole columns come to it (`budgets.py`); a used column
        of a block costs as many as the block may keep rows. Where rows compete, there may be as many in all as all
        blocks together may keep, and a column costs the rows in use.
        """
        if self.supports(shape_of(weight)):
            return False
        groups = grouped(support(weight), self.column_group).any(2)
        tiling = self._tiling(groups)
        kept, prices = used(tiling.split(groups)), self._prices(tiling)
        if self._rows_compete:
            most = int(prices.sum()) * tiling.wide
            return int(kept.rows.sum()) <= most and kept.size() <= self._budget(tiling).most
        columns = kept.columns.sum(1).cpu()
        if self.budget == "block":
            columns_fit = self._even(tiling).holds(columns)
        else:
            by_strip = columns.view(tiling.tall, -1).sum(1)
            columns_fit = is_within_budget(by_strip, prices, self._budget(tiling), tiling.width)
        rows_fit = kept.rows.sum(1).cpu() <= prices.repeat_interleave(tiling.wide)
        return columns_fit and bool(rows_fit.all())

    def pack(self, weight: Tensor) -> DenseBlocks:
        """Store the used rows and columns of each block; raises SpokeshaveError outside the set."""
        check_member(NAME, self, weight, "its blocks use too many columns or rows")
        return dense_blocks(weight, self.block, group_order(tuple(weight.shape), self.column_group))

    def _keep(self, worth: Tensor) -> Tensor:
        groups = grouped(worth, self.column_group).sum(2)
        tiling = self._tiling(groups)
        kept = self._choose(tiling.split(groups), tiling)
        return spread(tiling.join(kept.mask()), tuple(worth.shape), self.column_group)

    def _tiling(self, groups: Tensor) -> Tiling:
        return tiling_of(groups, (self.block[0], self.block[1] // self.column_group))

    def _wanted(self, tiling: Tiling) -> float:
        """Column groups of one row each that should be kept."""
        return tiling.height * tiling.width * (1 - self.sparsity)

    def _budget(self, tiling: Tiling) -> Budget:
        return budget_of(kinds_of(self._prices(tiling), tiling.width), self._wanted(tiling))

    def _even(self, tiling: Tiling) -> EvenColumns:
        return EvenColumns.of(tiling, self._prices(tiling), self._wanted(tiling))

    def _choose(self, score: Tensor, tiling: Tiling) -> Kept:
        prices = self._prices(tiling).to(score.device)
        if self.budget == "block":
            return balanced(score, prices.repeat_interleave(tiling.wide), self._even(tiling))
        choose = competing if self._rows_compete else together
        return choose(score, tiling, prices, self._budget(tiling))

    @property
    def _rows_compete(self) -> bool:
        return self.budget == "layer" and self.row_sparsity > 0

    def _prices(self, tiling: Tiling) -> Tensor:
        """Rows that the blocks of each strip keep, if equally many, which is then what a column costs: `[tall]`."""
        return ((1 - self.row_sparsity) * tiling.heights() - 1e-6).ceil().long().clamp(min=1)
