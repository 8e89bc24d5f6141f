"""Weights as numbers of levels: alone as a stream of bits, or inside the packed form of a sparse weight."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spokeshave.schemes.bits import bits_for, pack_bits, unpack_bits
from spokeshave.schemes.scheme import Packed


@dataclass(frozen=True)
class Coded:
    """A weight as codes: entry w of row r is `table[code + zero] * scales[r]`, and code 0 stands for 0.

    `codes`: int16 of the weight's shape; `table`: ascending levels; `zero`: the number of level 0, None where
    there is none (binary weights; their codes start at 0); `scales`: one a row, or one for all. Every product is exact
    in `dtype`. `own_table` says that the table belongs to the weight and is not known from the scheme.
    """

    codes: Tensor
    table: Tensor
    zero: int | None
    scales: Tensor
    dtype: torch.dtype
    own_table: bool = False

    def decoded(self, codes: Tensor) -> Tensor:
        """The values of codes of the weight's shape."""
        scales = self.scales.double().view(-1, *[1] * (codes.dim() - 1))
        return (self.table.double()[codes.long() + (self.zero or 0)] * scales).to(self.dtype)

    @property
    def overhead(self) -> int:
        """Bytes of the scales and of a table of its own."""
        return self.scales.nbytes + (self.table.to(self.dtype).nbytes if self.own_table else 0)


@dataclass(frozen=True)
class Levels:
    """Every weight's level number in as few bits as tell the levels apart, as a stream (`bits.py`)."""

    shape: tuple[int, ...]
    stream: Tensor
    coded: Coded

    @classmethod
    def of(cls, coded: Coded) -> "Levels":
        """Store codes; the codes themselves are dropped."""
        numbers = coded.codes.cpu().long() + (coded.zero or 0)
        empty = replace(coded, codes=numbers.new_zeros(0), table=coded.table.cpu(), scales=coded.scales.cpu())
        return cls(tuple(coded.codes.shape), pack_bits(numbers, bits_for(len(coded.table))), empty)

    @property
    def nbytes(self) -> int:
        """Bytes of the stream, the scales and a codebook."""
        return self.stream.nbytes + self.coded.overhead

    def unpack(self) -> Tensor:
        """The weight, bit for bit."""
        count = torch.Size(self.shape).numel()
        numbers = unpack_bits(self.stream, bits_for(len(self.coded.table)), count).view(self.shape)
        return self.coded.decoded(numbers - (self.coded.zero or 0))


@dataclass(frozen=True)
class CodedStructure:
    """The packed form of a sparse weight with codes, of one or two bytes, for values."""

    structure: Packed
    coded: Coded

    @classmethod
    def of(cls, structure: Packed, coded: Coded) -> "CodedStructure":
        """Store a structure that holds the codes as floating-point values."""
        dtype = torch.int8 if _fits_a_byte(coded) else torch.int16
        empty = replace(
            coded, codes=coded.codes.new_zeros(0), table=coded.table.cpu(), scales=coded.scales.cpu()
        )
        return cls(_with_values(structure, dtype), empty)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return self.structure.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the structure, the scales and a codebook."""
        return self.structure.nbytes + self.coded.overhead

    def unpack(self) -> Tensor:
        """The weight, bit for bit."""
        return self.coded.decoded(self.structure.unpack())


@dataclass(frozen=True)
class MixedLevels:
    """Rows of two formats: a bit a row says which, and each format's rows are stored together."""

    shape: tuple[int, ...]
    in_second: Tensor
    parts: tuple[Levels | None, Levels | None]

    @property
    def nbytes(self) -> int:
        """Bytes of both parts and of the bits."""
        return self.in_second.nbytes + sum(part.nbytes for part in self.parts if part is not None)

    def unpack(self) -> Tensor:
        """The weight, bit for bit."""
        second = unpack_bits(self.in_second, 1, self.shape[0]).bool()
        stored = [
            (rows, part.unpack()) for rows, part in zip((~second, second), self.parts, strict=True) if part
        ]
        weight = stored[0][1].new_zeros(self.shape)
        for rows, values in stored:
            weight[rows] = values
        return weight


def _fits_a_byte(coded: Coded) -> bool:
    zero = coded.zero or 0
    return zero <= 1 << 7 and len(coded.table) - zero <= 1 << 7


def _with_values(packed: Any, dtype: torch.dtype) -> Any:
    """The same packed form with values, wherever in it they are, of another type."""
    changes: dict[str, Any] = {}
    for field in fields(packed):
        value = getattr(packed, field.name)
        if field.name == "values":
            changes["values"] = value.to(dtype)
        elif field.name == "dtype":
            changes["dtype"] = dtype
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            changes[field.name] = tuple(_with_values(part, dtype) for part in value)
    return replace(packed, **changes)
