"""Weights as numbers of levels: alone as a stream of bits, or inside the packed form of a sparse weight."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from spokeshave.schemes.bits import bits_for, pack_bits, unpack_bits
from spokeshave.schemes.packed import Bitmap
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
        """The weight, as it was packed."""
        count = torch.Size(self.shape).numel()
        numbers = unpack_bits(self.stream, bits_for(len(self.coded.table)), count).view(self.shape)
        return self.coded.decoded(numbers - (self.coded.zero or 0))


@dataclass(frozen=True)
class CodedStructure:
    """The packed form of a sparse weight with level numbers for values, in as few bits as tell the levels apart.

    `structure` is that form with values that have only a shape (meta tensors); `stream` holds the numbers of all
    values, in the order of the form's fields.
    """

    structure: Packed
    stream: Tensor
    coded: Coded

    @classmethod
    def of(cls, structure: Packed, coded: Coded) -> "CodedStructure":
        """Store a structure that holds the codes as floating-point values."""
        values = _values_of(structure)
        flat = [torch.zeros(0, dtype=torch.long), *(codes.flatten().long().cpu() for codes in values)]
        numbers = torch.cat(flat) + (coded.zero or 0)
        without = _with_values(structure, [codes.to("meta", torch.int16) for codes in values])
        empty = replace(
            coded, codes=coded.codes.new_zeros(0), table=coded.table.cpu(), scales=coded.scales.cpu()
        )
        return cls(without, pack_bits(numbers, bits_for(len(coded.table))), empty)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return self.structure.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the structure's indices, the stream, the scales and a codebook."""
        values = sum(values.nbytes for values in _values_of(self.structure))
        return self.structure.nbytes - values + self.stream.nbytes + self.coded.overhead

    def unpack(self) -> Tensor:
        """The weight, as it was packed."""
        empty = _values_of(self.structure)
        sizes = [values.numel() for values in empty]
        numbers = unpack_bits(self.stream, bits_for(len(self.coded.table)), sum(sizes)) - (
            self.coded.zero or 0
        )
        codes = numbers.to(torch.int16).split(sizes)
        values = [part.view(like.shape) for part, like in zip(codes, empty, strict=True)]
        return self.coded.decoded(_with_values(self.structure, values).unpack())


def smallest(coded: Coded) -> Packed:
    """Level numbers of all weights, or of those that are not 0 beside a bit a weight: whichever is less."""
    levels = Levels.of(coded)
    if coded.zero is None:
        return levels
    sparse = CodedStructure.of(Bitmap.of(coded.codes.to(coded.dtype)), coded)
    return sparse if sparse.nbytes < levels.nbytes else levels


@dataclass(frozen=True)
class MixedLevels:
    """Rows of two formats: a bit a row says which, and each format's rows are stored together."""

    shape: tuple[int, ...]
    in_second: Tensor
    parts: tuple[Packed | None, Packed | None]

    @property
    def nbytes(self) -> int:
        """Bytes of both parts and of the bits."""
        return self.in_second.nbytes + sum(part.nbytes for part in self.parts if part is not None)

    def unpack(self) -> Tensor:
        """The weight, as it was packed."""
        second = unpack_bits(self.in_second, 1, self.shape[0]).bool()
        stored = [
            (rows, part.unpack()) for rows, part in zip((~second, second), self.parts, strict=True) if part
        ]
        weight = stored[0][1].new_zeros(self.shape)
        for rows, values in stored:
            weight[rows] = values
        return weight


def _values_of(packed: Any) -> list[Tensor]:
    """The values of a packed form, wherever in it they are."""
    found: list[Tensor] = []
    for field in fields(packed):
        value = getattr(packed, field.name)
        if field.name == "values":
            found.append(value)
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            found += [values for part in value for values in _values_of(part)]
    return found


def _with_values(packed: Any, values: list[Tensor]) -> Any:
    """The same packed form with other values, in the order of `_values_of`."""
    left = iter(values)

    def exchanged(part: Any) -> Any:
        changes: dict[str, Any] = {}
        for field in fields(part):
            value = getattr(part, field.name)
            if field.name == "values":
                changes["values"] = next(left)
            elif field.name == "dtype":
                changes["dtype"] = torch.int16
            elif isinstance(value, tuple) and value and is_dataclass(value[0]):
                changes[field.name] = tuple(exchanged(inner) for inner in value)
        return replace(part, **changes)

    return exchanged(packed)
