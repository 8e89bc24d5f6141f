"""A matrix cut into equal blocks, the last ones smaller, and what may be kept of each block."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDING = 1e-6  # shares are quotients: whole numbers of columns come out a little above or below


@dataclass(frozen=True)
class Tiling:
    """Blocks of `block` rows x columns over a `[height, width]` matrix; `tall` x `wide` of them."""

    height: int
    width: int
    block: tuple[int, int]

    @property
    def tall(self) -> int:
        """Blocks one below the other."""
        return -(-self.height // self.block[0])

    @property
    def wide(self) -> int:
        """Blocks side by side."""
        return -(-self.width // self.block[1])

    def heights(self) -> Tensor:
        """True rows of each row of blocks, `[tall]`."""
        return _lengths(self.height, self.block[0])

    def widths(self) -> Tensor:
        """True columns of each column of blocks, `[wide]`."""
        return _lengths(self.width, self.block[1])

    def sizes(self) -> Tensor:
        """True weights of each block, `[tall * wide]`."""
        return (self.heights()[:, None] * self.widths()).flatten()

    def even_columns(self, share: float) -> tuple[Tensor, Tensor]:
        """Columns that blocks keep when all keep the same share of them, rounded down and rounded up, `[blocks]`."""
        exact = (self.widths() * share).repeat(self.tall)
        return (exact + ROUNDING).floor().long(), (exact - ROUNDING).ceil().long()

    def split(self, matrix: Tensor, fill: float = 0) -> Tensor:
        """Blocks of a matrix, `[tall * wide, rows, columns]`; `fill` where the last ones stick out."""
        rows, columns = self.block
        padding = (0, self.wide * columns - self.width, 0, self.tall * rows - self.height)
        padded = F.pad(matrix, padding, value=fill) if any(padding) else matrix
        blocks = padded.view(self.tall, rows, self.wide, columns).transpose(1, 2)
        return blocks.reshape(-1, rows, columns)

    def by_strip(self, columns: Tensor) -> Tensor:
        """What is said of the columns of every block, `[blocks, columns]`, as `[tall, width]`."""
        return columns.view(self.tall, -1)[:, : self.width]

    def by_block(self, segments: Tensor) -> Tensor:
        """Undoes `by_strip`; zeros (False) where the last blocks stick out."""
        beyond = self.wide * self.block[1] - self.width
        return F.pad(segments, (0, beyond)).view(-1, self.block[1])

    def join(self, blocks: Tensor) -> Tensor:
        """The matrix of the blocks: undoes `split`."""
        rows, columns = self.block
        matrix = blocks.view(self.tall, self.wide, rows, columns).transpose(1, 2)
        return matrix.reshape(self.tall * rows, -1)[: self.height, : self.width]


@dataclass(frozen=True)
class Kept:
    """The rows `[blocks, rows]` and columns `[blocks, columns]` that every block keeps, both bool.

    rows  1 0 1     x . x .
    columns     ->  . . . .
    1 0 1 0         x . x .
    """

    rows: Tensor
    columns: Tensor

    def mask(self) -> Tensor:
        """Bool `[blocks, rows, columns]`."""
        return self.rows[:, :, None] & self.columns[:, None, :]

    def size(self) -> int:
        """Weights inside, zero or not."""
        return int((self.rows.sum(1) * self.columns.sum(1)).sum())

    def worth(self, score: Tensor) -> float:
        """Sum of `score`, `[blocks, rows, columns]`, over what is kept."""
        return float((row_scores(score, self.columns) * self.rows).sum(dtype=torch.float64))


def used(nonzero: Tensor) -> Kept:
    """The rows and columns of blocks `[blocks, rows, columns]` that hold anything."""
    return Kept(nonzero.any(2), nonzero.any(1))


def row_scores(score: Tensor, columns: Tensor) -> Tensor:
    """Sum over the kept columns for each row of each block, `[blocks, rows]`."""
    return torch.bmm(score, columns[:, :, None].to(score.dtype)).squeeze(2)


def column_scores(score: Tensor, rows: Tensor) -> Tensor:
    """Sum over the kept rows for each column of each block, `[blocks, columns]`."""
    return torch.bmm(rows[:, None, :].to(score.dtype), score).squeeze(1)


def _lengths(total: int, step: int) -> Tensor:
    return torch.tensor([min(step, total - start) for start in range(0, total, step)])
