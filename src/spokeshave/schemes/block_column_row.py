"""Blocks that keep whole columns and whole rows: GRIM's block column-row pruning (arXiv 2108.11033)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_choice import balanced, together
from spokeshave.schemes.checks import check_fraction, check_weight
from spokeshave.schemes.packed import DenseBlock, DenseBlocks, index_type
from spokeshave.schemes.ranking import kept_count, score, support
from spokeshave.schemes.scheme import as_matrix
from spokeshave.schemes.tiling import Kept, Tiling, used

NAME = "block_column_row"


@dataclass(frozen=True)
class BlockColumnRow:
    """Each block of the matrix keeps whole columns and rows: `x . x . | . x x .` above `. . . . | . x x .`.

    `sparsity` is the fraction of the weights that is removed. `block` is the rows x columns of a block; the
    last blocks are smaller where it does not divide the matrix. Every block loses a fraction `row_sparsity`
    of its rows, rounded down. Columns are removed until the sparsity is met: with budget "layer" those of all
    blocks compete, with "block" each block keeps as many as the others, give or take one.

    The projection is exact without row sparsity. With it columns are chosen first, then rows on what is left,
    then both in turn until neither changes.

    >>> BlockColumnRow(0.5, block=(2, 2)).project(torch.tensor([[1.0, -3.0, 5.0, 0.0], [2.0, 6.0, 4.0, 1.0]]))
    tensor([[ 0., -3.,  5.,  0.],
            [ 0.,  6.,  4.,  0.]])
    """

    sparsity: float
    block: tuple[int, int] = (8, 64)
    row_sparsity: float = 0.0
    budget: Literal["layer", "block"] = "layer"

    def __post_init__(self) -> None:
        check_fraction(NAME, "sparsity", self.sparsity)
        check_fraction(NAME, "row_sparsity", self.row_sparsity)
        if self.row_sparsity > self.sparsity:
            rates = f"row_sparsity {self.row_sparsity} must not be above sparsity {self.sparsity}"
            raise SpokeshaveError(f"{NAME}: {rates}, for it alone would remove more")
        if not _is_block(self.block):
            raise SpokeshaveError(f"{NAME}: block must be two positive whole numbers, not {self.block!r}")
        object.__setattr__(self, "block", tuple(self.block))  # YAML and JSON know lists only
        if self.budget not in ("layer", "block"):
            raise SpokeshaveError(f"{NAME}: budget must be 'layer' or 'block', not {self.budget!r}")

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the columns and rows of blocks with the largest sums of squared weights, or of saliency.

        A weight that already lies in the set stays as it is. Raises SpokeshaveError when a block is larger
        than the matrix.
        """
        self._check(weight, saliency)
        if self.contains(weight):
            return weight.detach().clone()
        tiling, worth = self._tiling(weight), as_matrix(score(weight, saliency))
        kept = tiling.join(self._choose(tiling.split(worth), tiling).mask())
        return torch.where(kept.view(weight.shape), weight.detach(), 0)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """A block must not be larger than the matrix."""
        rows, columns = shape[0], torch.Size(shape[1:]).numel()
        if len(shape) > 1 and self.block[0] <= rows and self.block[1] <= columns:
            return None
        block = f"a block of {self.block[0]} x {self.block[1]}"
        return f"{block} is larger than the weight's matrix, {rows} x {columns}"

    def contains(self, weight: Tensor) -> bool:
        """Whether the rows and columns in use fit: few enough in each block, and together within the budget.

        The budget is floor((1 - sparsity) * size) weights; a used column of a block costs as many as the
        block may keep rows.
        """
        if self.supports(tuple(weight.shape)):
            return False
        tiling = self._tiling(weight)
        kept = used(tiling.split(support(as_matrix(weight))))
        prices = self._prices(tiling).to(weight.device).repeat_interleave(tiling.wide)
        columns = kept.columns.sum(1)
        if self.budget == "block":
            columns_fit = bool((columns <= self._column_counts(tiling).to(weight.device)).all())
        else:
            columns_fit = int((columns * prices).sum()) <= kept_count(weight.numel(), self.sparsity)
        return columns_fit and bool((kept.rows.sum(1) <= prices).all())

    def pack(self, weight: Tensor) -> DenseBlocks:
        """Store the used rows and columns of each block; raises SpokeshaveError outside the set."""
        self._check(weight)
        if not self.contains(weight):
            raise SpokeshaveError(
                f"a weight of shape {tuple(weight.shape)} does not lie in {self}: "
                "its blocks use too many columns or rows; project it first"
            )
        matrix = as_matrix(weight.detach().cpu())
        return DenseBlocks(tuple(weight.shape), _dense_blocks(matrix, self._tiling(weight)), weight.dtype)

    def _check(self, weight: Tensor, saliency: Tensor | None = None) -> None:
        check_weight(NAME, weight, saliency)
        if reason := self.supports(tuple(weight.shape)):
            raise SpokeshaveError(f"{NAME}: {reason}")

    def _tiling(self, weight: Tensor) -> Tiling:
        return Tiling(weight.shape[0], weight[0].numel(), self.block)

    def _choose(self, score: Tensor, tiling: Tiling) -> Kept:
        prices = self._prices(tiling).to(score.device)
        if self.budget == "block":
            columns = self._column_counts(tiling).to(score.device)
            return balanced(score, prices.repeat_interleave(tiling.wide), columns)
        return together(score, tiling, prices, kept_count(tiling.height * tiling.width, self.sparsity))

    def _prices(self, tiling: Tiling) -> Tensor:
        """Rows that the blocks of each strip keep, which is what a column of theirs costs: `[tall]`."""
        return ((1 - self.row_sparsity) * tiling.heights() - 1e-6).ceil().long().clamp(min=1)

    def _column_counts(self, tiling: Tiling) -> Tensor:
        """Columns that each block keeps when all keep the same share, `[blocks]`."""
        affordable = kept_count(tiling.height * tiling.width, self.sparsity) // int(
            self._prices(tiling).sum()
        )
        edges = torch.cat([torch.zeros(1, dtype=torch.long), tiling.widths().cumsum(0)])
        return (edges * min(affordable, tiling.width) // tiling.width).diff().repeat(tiling.tall)


def _is_block(block: object) -> bool:
    numbers = list(block) if isinstance(block, tuple | list) else []
    return len(numbers) == 2 and all(type(number) is int and number > 0 for number in numbers)


def _dense_blocks(matrix: Tensor, tiling: Tiling) -> tuple[DenseBlock, ...]:
    kept = used(tiling.split(matrix != 0))
    tops = torch.arange(tiling.tall).repeat_interleave(tiling.wide) * tiling.block[0]
    lefts = torch.arange(tiling.wide).repeat(tiling.tall) * tiling.block[1]
    row_type, column_type = index_type(tiling.height - 1), index_type(tiling.width - 1)
    return tuple(
        DenseBlock(rows.to(row_type), columns.to(column_type), matrix[rows[:, None], columns])
        for rows, columns in zip(_numbers(kept.rows, tops), _numbers(kept.columns, lefts), strict=True)
        if len(rows)
    )


def _numbers(kept: Tensor, starts: Tensor) -> tuple[Tensor, ...]:
    """For each block the numbers in the matrix of its kept rows, or columns."""
    blocks, within = kept.nonzero(as_tuple=True)
    return (starts[blocks] + within).split(kept.sum(1).tolist())
