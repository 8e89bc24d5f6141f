"""Blocks that stay or go as a whole, and the same with the kernel positions of convolutions apart."""

from dataclasses import dataclass
from math import prod

from torch import Tensor

from spokeshave.schemes.block_packing import dense_blocks, tiling_of
from spokeshave.schemes.budgets import Budget, budget_of, is_within_budget, keep_within_budget, kinds_of
from spokeshave.schemes.checks import (
    as_block,
    block_reason,
    check_fraction,
    check_member,
    check_shape,
    empty_reason,
    shape_of,
)
from spokeshave.schemes.masking import project_by
from spokeshave.schemes.packed import DenseBlocks
from spokeshave.schemes.ranking import support
from spokeshave.schemes.scheme import Composable, as_matrix
from spokeshave.schemes.tiling import Tiling


@dataclass(frozen=True)
class Blocks(Composable):
    """Each block of the matrix is full or empty: `x x . . | x x . .` above `. . x x | . . . .`.

    `sparsity` is the fraction of the weights that is removed, `block` the rows x columns of a block; the last
    blocks are smaller where it does not divide the matrix, and cost as much less. LPViT (arXiv 2407.02068) ranks
    these blocks by a second-order saliency.

    >>> import torch
    >>> Blocks(0.5, block=(2, 1)).project(torch.tensor([[1.0, -3.0], [2.0, 0.5]]))
    tensor([[ 0.0000, -3.0000],
            [ 0.0000,  0.5000]])
    """

    sparsity: float
    block: tuple[int, int] = (16, 16)

    def __post_init__(self) -> None:
        check_fraction("blocks", "sparsity", self.sparsity)
        object.__setattr__(self, "block", as_block("blocks", self.block))

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the blocks with the largest sums of squared weights, or of saliency: the nearest point."""
        return project_by(
            "blocks", self, weight, saliency, lambda worth: _keep(worth, self.block, 1, self.sparsity)
        )

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """A block must not be larger than the matrix, and the sparsity leave a block."""
        return block_reason(self.block, shape) or _empty(shape, self.block, 1, self.sparsity)

    def contains(self, weight: Tensor) -> bool:
        """Whether the blocks in use are part of a choice that meets the budget (`budgets.py`)."""
        return self.supports(shape_of(weight)) is None and _fits(weight, self.block, 1, self.sparsity)

    def pack(self, weight: Tensor) -> DenseBlocks:
        """Store the blocks in use; raises SpokeshaveError outside the set."""
        check_member("blocks", self, weight, "it uses too many blocks")
        return dense_blocks(weight, self.block)


@dataclass(frozen=True)
class BlockPunched(Composable):
    """Filters and channels of a block keep the same kernel positions: `x . x | . x .` in all kernels of a block.

    `block` is filters x channels; within a block each position of the kernel is kept in all kernels or in none.
    For convolutions of any rank (YOLObile, arXiv 2009.05697; GRIM and NPAS use it too). Where kernels have one
    position this is `Blocks`.
    """

    sparsity: float
    block: tuple[int, int] = (8, 4)

    def __post_init__(self) -> None:
        check_fraction("block_punched", "sparsity", self.sparsity)
        object.__setattr__(self, "block", as_block("block_punched", self.block))

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Keep the positions of blocks with the largest sums of squared weights, or of saliency: the nearest point."""
        return project_by("block_punched", self, weight, saliency, self._kept)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Only convolutions have kernel positions; a block must not be larger than filters x channels."""
        check_shape(shape)
        if len(shape) < 3:
            return f"only convolutions have kernel positions, and {shape} is a matrix"
        if self.block[0] <= shape[0] and self.block[1] <= shape[1]:
            return _empty(shape, *self._matrix_block(shape), self.sparsity)
        block = f"a block of {self.block[0]} filters x {self.block[1]} channels"
        return f"{block} is larger than the weight's {shape[0]} x {shape[1]}"

    def contains(self, weight: Tensor) -> bool:
        """Whether the positions in use are part of a choice that meets the budget (`budgets.py`)."""
        if self.supports(shape_of(weight)):
            return False
        return _fits(weight, *self._matrix_block(tuple(weight.shape)), self.sparsity)

    def pack(self, weight: Tensor) -> DenseBlocks:
        """Store the positions in use, one dense block for each block; raises SpokeshaveError outside the set."""
        check_member("block_punched", self, weight, "its blocks use too many positions")
        return dense_blocks(weight, self._matrix_block(tuple(weight.shape))[0])

    def _kept(self, worth: Tensor) -> Tensor:
        return _keep(worth, *self._matrix_block(tuple(worth.shape)), self.sparsity)

    def _matrix_block(self, shape: tuple[int, ...]) -> tuple[tuple[int, int], int]:
        """A block in rows x columns of the matrix, and its positions."""
        positions = prod(shape[2:])
        return (self.block[0], self.block[1] * positions), positions


def _prices(tiling: Tiling, positions: int) -> Tensor:
    """Weights at one position of each block, `[blocks]`."""
    return tiling.sizes() // positions


def _budget(tiling: Tiling, positions: int, sparsity: float) -> Budget:
    wanted = tiling.height * tiling.width * (1 - sparsity)
    return budget_of(kinds_of(_prices(tiling, positions), positions), wanted)


def _empty(shape: tuple[int, ...], block: tuple[int, int], positions: int, sparsity: float) -> str | None:
    """Why the sparsity is too high, or None."""
    tiling = Tiling(shape[0], prod(shape[1:]), block)
    kept, least = _budget(tiling, positions, sparsity).most, int(_prices(tiling, positions).min())
    return empty_reason(kept, sparsity, least, prod(shape), f"block of {block[0]} x {block[1] // positions}")


def _keep(worth: Tensor, block: tuple[int, int], positions: int, sparsity: float) -> Tensor:
    tiling = tiling_of(worth, block)
    tiles = tiling.split(as_matrix(worth))
    by_position = tiles.reshape(len(tiles), block[0], -1, positions)
    prices = _prices(tiling, positions).to(worth.device).repeat_interleave(positions)
    budget = _budget(tiling, positions, sparsity)
    kept = keep_within_budget(by_position.sum((1, 2)).flatten(), prices, budget)
    mask = kept.view(-1, 1, 1, positions).expand(by_position.shape).reshape(tiles.shape)
    return tiling.join(mask).reshape(worth.shape)


def _fits(weight: Tensor, block: tuple[int, int], positions: int, sparsity: float) -> bool:
    tiling = tiling_of(weight, block)
    tiles = tiling.split(support(as_matrix(weight)))
    used = tiles.reshape(len(tiles), -1, positions).any(1).sum(1).cpu()
    budget = _budget(tiling, positions, sparsity)
    return is_within_budget(used, _prices(tiling, positions), budget, positions)
