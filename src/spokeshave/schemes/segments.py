"""Rows cut into segments of equal length that keep equally many weights: stored with short indices, no pointers."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.schemes.bits import bits_for, pack_bits, unpack_bits
from spokeshave.schemes.packed import index_type
from spokeshave.schemes.scheme import as_matrix

Along = Literal["channels", "columns"]


def as_rows(weight: Tensor, along: Along) -> Tensor:
    """The rows that segments run along.

    "columns": the matrix view. "channels": input channels of each (output channel, kernel position), so that a segment
    of a convolution's weights meets neighbouring channels at one position; the same for a weight that is a matrix.

    >>> as_rows(torch.zeros(8, 4, 3, 3), "channels").shape
    torch.Size([72, 4])
    """
    if along == "columns":
        return as_matrix(weight)
    return weight.reshape(*weight.shape[:2], -1).transpose(1, 2).reshape(-1, weight.shape[1])


def from_rows(rows: Tensor, shape: tuple[int, ...], along: Along) -> Tensor:
    """Undoes `as_rows`."""
    if along == "columns":
        return rows.reshape(shape)
    return rows.reshape(shape[0], -1, shape[1]).transpose(1, 2).reshape(shape)


def cut(rows: Tensor, length: int, fill: float = 0) -> Tensor:
    """Segments of rows, `[rows, segments, length]`; `fill` behind the last ones."""
    padded = F.pad(rows, (0, -rows.shape[1] % length), value=fill)
    return padded.view(len(rows), padded.shape[1] // length, length)


@dataclass(frozen=True)
class SegmentRows:
    """Rows with segments of one length that keep equally many weights.

    `rows`: `[n]` row numbers, or None for all rows in order; `values`: `[n, segments, kept]`; `places`: where in its
    segment each value lies, `bits_for(length)` bits each, as a stream (`bits.py`) in the order of the values.
    """

    rows: Tensor | None
    length: int
    values: Tensor
    places: Tensor

    @classmethod
    def of(cls, matrix: Tensor, rows: Tensor | None, length: int, kept: int) -> "SegmentRows":
        """Store rows of a matrix whose segments have at most `kept` non-zeros; zeros fill up those that have fewer."""
        segments = cut(matrix if rows is None else matrix[rows.long()], length)
        places = (segments == 0).int().argsort(dim=2, stable=True)[..., :kept].sort(dim=2).values
        return cls(rows, length, segments.gather(2, places), pack_bits(places, bits_for(length)))

    @property
    def nbytes(self) -> int:
        """Bytes of values, places and row numbers, and of a row count and a length where there are row numbers."""
        listed = 0 if self.rows is None else self.rows.nbytes + self.rows.itemsize + 1
        return self.values.nbytes + self.places.nbytes + listed

    def place_numbers(self) -> Tensor:
        """The places as whole numbers, `[n, segments, kept]`."""
        numbers = unpack_bits(self.places, bits_for(self.length), self.values.numel())
        return numbers.view(self.values.shape)

    def put_into(self, matrix: Tensor) -> None:
        """Write the rows into a `[rows, width]` matrix of zeros."""
        segments = self.values.new_zeros(*self.values.shape[:2], self.length)
        segments.scatter_(2, self.place_numbers(), self.values)
        dense = segments.flatten(1)[:, : matrix.shape[1]]
        matrix[slice(None) if self.rows is None else self.rows.long()] = dense


@dataclass(frozen=True)
class Segments:
    """Groups of rows, each with one length of segments; together they are all rows along `along`."""

    shape: tuple[int, ...]
    along: Along
    groups: tuple[SegmentRows, ...]

    @classmethod
    def of(cls, weight: Tensor, along: Along, length: int, kept: int) -> "Segments":
        """Store a weight whose segments all have one length."""
        rows = as_rows(weight.detach().cpu(), along)
        return cls(tuple(weight.shape), along, (SegmentRows.of(rows, None, length, kept),))

    @classmethod
    def by_length(cls, weight: Tensor, lengths: Tensor) -> "Segments":
        """Store a weight whose matrix row i has segments of `lengths[i]` with at most one non-zero each."""
        matrix = as_matrix(weight.detach().cpu())
        numbers = torch.arange(len(matrix), dtype=index_type(len(matrix) - 1))
        groups = (
            SegmentRows.of(matrix, numbers[lengths == length], length, kept=1)
            for length in lengths.unique().tolist()
        )
        return cls(tuple(weight.shape), "columns", tuple(groups))

    @property
    def nbytes(self) -> int:
        """Bytes of all groups."""
        return sum(group.nbytes for group in self.groups)

    def unpack(self) -> Tensor:
        """The weight, as it was packed."""
        rows = as_rows(self.groups[0].values.new_zeros(self.shape), self.along)
        for group in self.groups:
            group.put_into(rows)
        return from_rows(rows, self.shape, self.along)
