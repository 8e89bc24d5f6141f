"""Forms in which pruned weights are stored: coordinates, a bit a weight, and dense blocks on row and column lists.

Both keep the bits of what they store. A negative zero outside the stored part comes back as zero.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.schemes.bits import pack_bits, unpack_bits
from spokeshave.schemes.scheme import as_matrix


def index_type(largest: int) -> torch.dtype:
    """The smallest integer type that holds `largest`.

    >>> [index_type(number) for number in (255, 256, 32768)]
    [torch.uint8, torch.int16, torch.int32]
    """
    return torch.uint8 if largest < 1 << 8 else torch.int16 if largest < 1 << 15 else torch.int32


@dataclass(frozen=True)
class Coordinates:
    """Non-zero weights row by row (compressed sparse rows of the matrix view).

    `row_pointers`: `[rows + 1]`; `columns`: `[kept]`, ascending in each row; `values`: `[kept]`, of the
    weight's type. Indices have the smallest type that holds them.
    """

    shape: tuple[int, ...]
    row_pointers: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> "Coordinates":
        """Store every weight that is not zero."""
        matrix = as_matrix(weight.detach().cpu())
        kept = matrix != 0
        pointers = torch.cat([torch.zeros(1, dtype=torch.long), kept.sum(1).cumsum(0)])
        columns = kept.nonzero()[:, 1].to(index_type(matrix.shape[1] - 1))
        return cls(tuple(weight.shape), pointers.to(index_type(int(pointers[-1]))), columns, matrix[kept])

    @property
    def nbytes(self) -> int:
        """Bytes of values, columns and row pointers."""
        return self.values.nbytes + self.columns.nbytes + self.row_pointers.nbytes

    def unpack(self) -> Tensor:
        """The weight, as it was packed."""
        matrix = as_matrix(self.values.new_zeros(self.shape))
        rows = torch.arange(len(matrix)).repeat_interleave(self.row_pointers.long().diff())
        matrix[rows, self.columns.long()] = self.values
        return matrix.view(self.shape)


@dataclass(frozen=True)
class Bitmap:
    """Non-zero weights row by row, `[kept]`, and a bit for every weight that says which they are (`bits.py`)."""

    shape: tuple[int, ...]
    kept: Tensor
    values: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> "Bitmap":
        """Store every weight that is not zero."""
        flat = weight.detach().cpu().flatten()
        return cls(tuple(weight.shape), pack_bits(flat != 0, 1), flat[flat != 0])

    @property
    def nbytes(self) -> int:
        """Bytes of values and bits."""
        return self.values.nbytes + self.kept.nbytes

    def unpack(self) -> Tensor:
        """The weight, as it was packed."""
        flat = self.values.new_zeros(torch.Size(self.shape).numel())
        flat[unpack_bits(self.kept, 1, len(flat)).bool()] = self.values
        return flat.view(self.shape)


@dataclass(frozen=True)
class DenseBlock:
    """One dense submatrix: its rows and columns in the matrix view, ascending; values `[rows, columns]`."""

    rows: Tensor
    columns: Tensor
    values: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of values and indices, and of the two counts that say how many there are."""
        return (
            self.values.nbytes
            + self.rows.nbytes
            + self.columns.nbytes
            + self.rows.itemsize
            + self.columns.itemsize
        )


@dataclass(frozen=True)
class DenseBlocks:
    """A dense submatrix for every block that holds a weight, block row by block row; all else is zero.

    Indices have the smallest type that holds every row, or column, of the matrix.
    """

    shape: tuple[int, ...]
    blocks: tuple[DenseBlock, ...]
    dtype: torch.dtype = torch.float32

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return sum(block.nbytes for block in self.blocks)

    def unpack(self) -> Tensor:
        """The weight, as it was packed."""
        matrix = as_matrix(torch.zeros(self.shape, dtype=self.dtype))
        for block in self.blocks:
            matrix[block.rows.long()[:, None], block.columns.long()] = block.values
        return matrix.view(self.shape)
