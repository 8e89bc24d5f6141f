"""Weights of few levels: fixed point, powers of two, two levels, a shared codebook."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.checks import check_choice, check_member, check_weight, matrix_reason, shape_of
from spokeshave.schemes.codebooks import fit_codebook
from spokeshave.schemes.coded import Coded, Levels
from spokeshave.schemes.levels import (
    as_units,
    common_measure,
    digits_of,
    fit_scales,
    grain_of,
    importance_of,
    nearest,
)
from spokeshave.schemes.scheme import Composable

Per = Literal["row", "tensor"]


class RowQuantizer(Composable):
    """What quantizers with one scale a row, or one for all, share: all but their levels and `encode_units`."""

    name: str
    per: Per

    @property
    def table(self) -> Tensor:
        """Levels at scale 1, ascending, in double precision."""
        raise NotImplementedError

    @property
    def level_digits(self) -> int:
        """Binary digits of the longest level."""
        return 1

    def encode_units(self, units: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Level numbers `[units, n]`, scales `[units]`, and which units are members at all, `[units]`."""
        raise NotImplementedError

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """The nearest levels at the scale that costs least; the scale is searched for, not solved for."""
        check_weight(self.name, self, weight, saliency)
        weight = weight.detach()
        if self.contains(weight):
            return weight.clone()
        digits = digits_of(weight.dtype) - self.level_digits
        if digits < 1:
            raise SpokeshaveError(f"{self.name}: {weight.dtype} has too few digits for {self}")
        units, table = as_units(weight, self.per == "row"), self.table.to(weight.device)
        importance = importance_of(weight, saliency).reshape(units.shape)
        scales = fit_scales(units, importance, table, digits, grain_of(weight.dtype, table))
        points = table[nearest(units, scales, table)] * scales[:, None]
        return points.to(weight.dtype).view(weight.shape)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Any matrix will do."""
        return matrix_reason(shape)

    def member_rows(self, weight: Tensor) -> Tensor:
        """Which rows, or whether the one unit of all, are members: bool."""
        return self.encode_units(as_units(weight.detach(), self.per == "row"))[2]

    def contains(self, weight: Tensor) -> bool:
        """Whether every row, or the tensor, has a scale at which its values are levels."""
        return len(shape_of(weight)) > 1 and bool(self.member_rows(weight).all())

    def encode(self, weight: Tensor) -> Coded:
        """The codes of a member."""
        numbers, scales, _ = self.encode_units(as_units(weight.detach(), self.per == "row"))
        table = self.table
        zero = int((table == 0).int().argmax()) if bool((table == 0).any()) else None
        codes = (numbers - (zero or 0)).to(torch.int16).view(weight.shape)
        return Coded(codes, table.float(), zero, scales.to(weight.dtype), weight.dtype)

    def pack(self, weight: Tensor) -> Levels:
        """Store level numbers and scales; raises SpokeshaveError outside the set."""
        check_member(self.name, self, weight, "its values are not such levels")
        return Levels.of(self.encode(weight))


@dataclass(frozen=True)
class FixedPoint(RowQuantizer):
    """Whole multiples of a scale up to 2^(bits - 1) - 1 either way: `-7 ... -1 0 1 ... 7` with 4 bits.

    One scale a row (output channel) or one for the tensor. The scale has so few digits that every product is exact:
    an integer kernel and the floating-point weight agree to the bit.
    """

    bits: int = 8
    per: Per = "row"
    name = "fixed_point"

    def __post_init__(self) -> None:
        _check_bits(self.name, self.bits, 2, 12)
        check_choice(self.name, "per", self.per, ("row", "tensor"))

    @property
    def table(self) -> Tensor:
        """-(2^(bits - 1) - 1) ... 2^(bits - 1) - 1."""
        return torch.arange(-self._most, self._most + 1, dtype=torch.float64)

    @property
    def level_digits(self) -> int:
        """The largest level is 2^(bits - 1) - 1."""
        return self.bits - 1

    @property
    def _most(self) -> int:
        return (1 << self.bits - 1) - 1

    def encode_units(self, units: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The scale is the largest number of which all values are multiples."""
        scales, multiples = common_measure(units)
        members = (multiples.abs() <= self._most).all(1)
        return multiples.clamp(-self._most, self._most) + self._most, scales, members


@dataclass(frozen=True)
class PowerOfTwo(RowQuantizer):
    """A scale times 0 or a power of two: `-1 -1/2 -1/4 0 1/4 1/2 1` with 3 bits; products are shifts.

    The powers go from 2^0 down to 2^-(2^(bits - 1) - 2); one scale a row, or one for the tensor (arXiv 2012.04240).
    """

    bits: int = 4
    per: Per = "row"
    name = "power_of_two"

    def __post_init__(self) -> None:
        _check_bits(self.name, self.bits, 2, 5)
        check_choice(self.name, "per", self.per, ("row", "tensor"))

    @property
    def table(self) -> Tensor:
        """The powers either way and 0."""
        powers = torch.exp2(torch.arange(-self._orders, 1, dtype=torch.float64))
        return torch.cat([-powers.flip(0), powers.new_zeros(1), powers])

    @property
    def _orders(self) -> int:
        return (1 << self.bits - 1) - 2

    def encode_units(self, units: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The scale is the largest value; all others have its fraction and an exponent not too far below."""
        largest = units.abs().amax(1, keepdim=True)
        fraction, exponent = torch.frexp(units.abs())
        top = torch.frexp(largest)
        below = top.exponent - exponent
        members = (units == 0) | ((fraction == top.mantissa) & (below <= self._orders))
        step = (self._orders + 1 - below.clamp(0, self._orders)).long()
        numbers = torch.where(units == 0, 0, step * units.sign().long()) + self._orders + 1
        return numbers, largest[:, 0], members.all(1)


@dataclass(frozen=True)
class Binary(RowQuantizer):
    """A scale or its negative: `-1 1`; one bit a weight, and no zeros (a row of zeros has the scale 0)."""

    per: Per = "row"
    name = "binary"

    def __post_init__(self) -> None:
        check_choice(self.name, "per", self.per, ("row", "tensor"))

    @property
    def table(self) -> Tensor:
        """-1 and 1."""
        return torch.tensor([-1.0, 1.0], dtype=torch.float64)

    def encode_units(self, units: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All values have the same size."""
        sizes = units.abs()
        return (units >= 0).long(), sizes[:, 0], (sizes == sizes[:, :1]).all(1)


@dataclass(frozen=True)
class Codebook(Composable):
    """Any 2^bits values, 0 among them, shared by the whole tensor: `-0.31 0 0.12 0.4` with 2 bits.

    Deep Compression's shared weights (arXiv 1510.00149). With 512 different weights or fewer the values are the best
    there are; 0 is fixed, so that weights removed before stay removed.
    """

    bits: int = 4

    def __post_init__(self) -> None:
        _check_bits("codebook", self.bits, 1, 8)

    def project(self, weight: Tensor, saliency: Tensor | None = None) -> Tensor:
        """Each weight becomes the nearest value of a codebook fitted to all."""
        check_weight("codebook", self, weight, saliency)
        weight = weight.detach()
        if self.contains(weight):
            return weight.clone()
        values = weight.double().flatten()
        table = fit_codebook(values, importance_of(weight, saliency).flatten(), 1 << self.bits)
        table = table.to(weight.dtype).double().unique()
        numbers = nearest(values[None], table.new_ones(1), table)
        return table[numbers].to(weight.dtype).view(weight.shape)

    def supports(self, shape: tuple[int, ...]) -> str | None:
        """Any matrix will do."""
        return matrix_reason(shape)

    def contains(self, weight: Tensor) -> bool:
        """Whether there are at most 2^bits - 1 values besides 0."""
        return len(shape_of(weight)) > 1 and len(weight[weight != 0].unique()) < 1 << self.bits

    def encode(self, weight: Tensor) -> Coded:
        """The codes of a member."""
        table = torch.cat([weight.detach().flatten(), weight.new_zeros(1)]).unique()
        zero = int((table == 0).int().argmax())
        codes = torch.searchsorted(table, weight.detach().contiguous()) - zero
        one = weight.new_ones(1)
        return Coded(codes.to(torch.int16), table, zero, one, weight.dtype, own_table=True)

    def pack(self, weight: Tensor) -> Levels:
        """Store the codebook and a number a weight; raises SpokeshaveError outside the set."""
        check_member("codebook", self, weight, "it has too many different values")
        return Levels.of(self.encode(weight))


def _check_bits(owner: str, bits: int, least: int, most: int) -> None:
    if type(bits) is not int or not least <= bits <= most:
        raise SpokeshaveError(f"{owner}: bits must be a whole number from {least} to {most}, not {bits!r}")
