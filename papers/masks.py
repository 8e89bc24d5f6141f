"""The schemes that the checks compare, by rate: how many times fewer weights are left."""

from collections.abc import Callable, Sequence
from math import prod

from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks

Shape = tuple[int, ...]
Steps = Sequence[Callable[[Shape], Scheme]]
"""Schemes by a weight's shape, one for each step of ADMM; the last one is where the weight ends."""


def width(shape: Shape) -> int:
    """Weights of one output."""
    return prod(shape[1:])


def unstructured(rate: float) -> Steps:
    """Single weights, the upper bound of accuracy."""
    return [lambda shape: Unstructured(1 - 1 / rate)]


def rows(rate: float) -> Steps:
    """Whole rows of a matrix: gates of units."""
    return [lambda shape: Blocks(1 - 1 / rate, (1, shape[1]))]


def columns(rate: float) -> Steps:
    """Whole columns of a matrix: inputs."""
    return [lambda shape: Blocks(1 - 1 / rate, (shape[0], 1))]


def compressed_blocks(rate: float, block: int = 32) -> Steps:
    """CSB with square blocks."""
    return [lambda shape: CompressedBlocks(1 - 1 / rate, (block, min(block, shape[1])))]


def banks(rate: float, bank: int) -> Steps:
    """Bank-balanced sparsity: as many weights in every bank of a row, at least one."""
    kept = max(1, round(bank / rate))
    return [lambda shape: NOfM(kept, bank, "columns")]


def block_structured(column_rate: float, row_rate: float) -> Steps:
    """BSP as RTMobile trains it: columns of blocks first, then rows of the matrix."""

    def block(shape: Shape) -> tuple[int, int]:
        return min(64, shape[0]), min(64, shape[1])

    first: Callable[[Shape], Scheme] = lambda shape: BlockStructured(1 - 1 / column_rate, block(shape))  # noqa: E731
    both: Callable[[Shape], Scheme] = lambda shape: BlockStructured(  # noqa: E731
        1 - 1 / (column_rate * row_rate), block(shape), 1 - 1 / row_rate
    )
    return [first, both]
