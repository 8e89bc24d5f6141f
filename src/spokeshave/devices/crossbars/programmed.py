"""A matrix of whole numbers on crossbars: its products with whole inputs, as the columns' converters give them.

Inputs come bit by bit, so a column adds up the conductances of the word lines whose bit is 1. Two ways give the same
numbers. Of fragments of up to eight word lines, all that they can give is in a table, looked up by their eight bits; of
longer ones, a matrix product for every bit is converted element by element.
"""

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.devices.crossbars.array import Array
from spokeshave.devices.crossbars.mapping import Mapped, map_weight
from spokeshave.errors import SpokeshaveError

LONGEST_TABLED = 8  # word lines of a fragment whose sums are looked up: 256 rows of table
BLOCK = 1 << 17  # column sums made at a time
EXACT_DIGITS = 24  # of float32
BYTE = 8
NEARLY_HALF = 0.49  # of a unit: what rounding takes away for sure
SWAPS = ((7, 0x00AA00AA00AA00AA), (14, 0x0000CCCC0000CCCC), (28, 0x00000000F0F0F0F0))


@dataclass(frozen=True)
class Programmed:
    """A weight `[outputs, inputs]` on the crossbars of an array; `conductances` are in levels, as programmed."""

    weight: Tensor
    array: Array
    mapped: Mapped
    conductances: Tensor
    table: Tensor | None = field(repr=False, default=None)

    def products(self, x: Tensor) -> Tensor:
        """Whole numbers `[vectors, inputs]`, 0 and up -> float64 `[vectors, outputs]`.

        Raises SpokeshaveError for inputs that the crossbar has no bits for.
        """
        if self.array.lossless:
            check_inputs(x, self.array)
            return x.double() @ self.weight.double().T
        return self.simulated(x)

    def simulated(self, x: Tensor) -> Tensor:
        """The same, column by column even where nothing can be lost."""
        check_inputs(x, self.array)
        array, products = self.array, x.new_zeros(len(x), len(self.weight), dtype=torch.float64)
        if not len(self.mapped.outputs):
            return products
        chunks = _by_chunk(self._on_lines(x).float(), array.rows_at_once)
        exact = array.input_bits + array.rows_at_once.bit_length() <= EXACT_DIGITS
        sums = chunks.sum(2, dtype=torch.float32 if exact else torch.float64)
        whole = chunks.to(torch.uint8 if array.input_bits <= BYTE else torch.int32)
        made = self._multiplied(whole) if self.table is None else self._looked_up(whole)
        products[:, self.mapped.outputs] = sums.double() @ self.mapped.offset + made
        return products

    def _on_lines(self, x: Tensor) -> Tensor:
        """Inputs in the order of word lines, as they are where that is their own order."""
        lines = self.mapped.lines
        in_order = len(lines) == x.shape[1] and torch.equal(lines, torch.arange(len(lines)))
        return x if in_order else x[:, lines]

    def _looked_up(self, chunks: Tensor) -> Tensor:
        """What columns give for `[vectors, chunks, rows at once]`, each fragment's bits looked up."""
        assert self.table is not None
        first = torch.arange(chunks.shape[1], dtype=torch.int32) << chunks.shape[2]
        total = torch.zeros(len(chunks), self.table.shape[1], dtype=torch.float64)
        planes = dict[int, Tensor]()
        for bit in _bits(chunks):
            byte, place = divmod(bit, BYTE)
            if place == 0:
                planes = {byte: _patterns(chunks >> BYTE * byte)}
            patterns = planes[byte][..., place].int() + first
            total += F.embedding_bag(patterns, self.table, mode="sum").double() * (1 << bit)
        return total

    def _multiplied(self, chunks: Tensor) -> Tensor:
        """The same by matrix products; word lines that the last chunk lacks are not multiplied with."""
        rows, left = self.array.rows_at_once, len(self.mapped.lines) % self.array.rows_at_once
        full = chunks.shape[1] - (left > 0)
        parts = ((slice(0, full), rows), (slice(full, None), left))
        return torch.stack(
            [
                self._by_blocks(chunks[:, part, :used], part, used)
                for part, used in parts
                if used and chunks[:, part].numel()
            ]
        ).sum(0)

    def _by_blocks(self, chunks: Tensor, part: slice, rows: int) -> Tensor:
        """`[vectors, chunks, rows]` of some chunks, so many vectors at a time that sums stay in the cache."""
        cells, coefficient = self.conductances[part, :rows].flatten(2), self.mapped.coefficient[part]
        vectors = max(1, BLOCK // (cells.shape[2] * chunks.shape[1]))
        blocks = chunks.transpose(0, 1).split(vectors, dim=1)
        cut = cuts_off(cells, self.array)
        return torch.cat([self._block(block.contiguous(), cells, coefficient, cut) for block in blocks])

    def _block(self, chunks: Tensor, cells: Tensor, coefficient: Tensor, cut: bool) -> Tensor:
        """`[chunks, vectors, rows]` -> `[vectors, outputs]`; `cut`: some sums may lie beyond what converters tell."""
        shape = (*chunks.shape[:2], cells.shape[2])
        digits = self.array.digits + int(chunks.max()).bit_length()
        total = torch.zeros(shape, dtype=torch.float32 if digits <= EXACT_DIGITS else torch.float64)
        for bit in _bits(chunks):
            sums = convert(torch.bmm((chunks >> bit & 1).float(), cells), self.array, cut)
            total.add_(sums, alpha=1 << bit)
        by_group = total.view(*shape[:2], *coefficient.shape[1:])
        digits += int(coefficient.abs().sum(1).max()).bit_length()
        if self.array.adc_bits is None or digits > EXACT_DIGITS:  # sums of whole numbers alone are exact
            by_group, coefficient = by_group.double(), coefficient.double()
        return torch.einsum("cvgn,cgn->cvn", by_group, coefficient).sum(0, dtype=torch.float64)


def program(
    weight: Tensor, array: Array, generator: torch.Generator | None = None, lines: Tensor | None = None
) -> Programmed:
    """Write a weight of whole numbers, `[outputs, inputs]`, to crossbars; `generator` draws the variation of cells.

    `lines`: the input on each word line, see `map_weight`, which says what is refused.
    """
    mapped = map_weight(weight, array, lines)
    return _with_table(Programmed(weight, array, mapped, conductances_of(mapped.levels, array, generator)))


def _with_table(programmed: Programmed) -> Programmed:
    multiplied = programmed.array.lossless or programmed.array.rows_at_once > LONGEST_TABLED
    if multiplied or not len(programmed.mapped.outputs):
        return programmed
    return replace(programmed, table=_table(programmed))


def restored(weight: Tensor, array: Array, lines: Tensor, conductances: Tensor | None) -> Programmed:
    """The same as it was programmed: `lines` are its `mapped.lines`; None for cells without variation."""
    mapped = map_weight(weight, array, lines)
    exact = conductances_of(mapped.levels, replace(array, variation=0.0), None)
    return _with_table(Programmed(weight, array, mapped, exact if conductances is None else conductances))


def conductances_of(levels: Tensor, array: Array, generator: torch.Generator | None) -> Tensor:
    """Conductances in units of one level, the lowest level's taken off (as a column of lowest levels beside them does).

    Each is the nominal one times `exp(variation * normal)`; float32.
    """
    if array.variation == 0:
        return levels.float()
    most = (1 << array.cell_bits) - 1
    step = (1 / array.low_resistance - 1 / array.high_resistance) / most
    lowest = 1 / array.high_resistance / step
    deviation = torch.randn(levels.shape, generator=generator) * array.variation
    return (levels + lowest) * deviation.exp() - lowest


def convert(sums: Tensor, array: Array, cut: bool = True) -> Tensor:
    """What converters give: rounded to whole units, ties to even, within 0 ... 2^adc_bits - 1; works in place.

    Unless `cut`, all sums are known to round to numbers within (`cuts_off`).
    """
    if array.adc_bits is None:
        return sums
    return sums.round_().clamp_(0, (1 << array.adc_bits) - 1) if cut else sums.round_()


def cuts_off(cells: Tensor, array: Array) -> bool:
    """Whether any inputs could drive a column of `[chunks, rows, columns]` beyond what its converter tells."""
    if array.adc_bits is None or not cells.numel():
        return False
    most, least = (
        float(bound) for bound in (cells.clamp(min=0).sum(1).max(), cells.clamp(max=0).sum(1).min())
    )
    return most > (1 << array.adc_bits) - 1 + NEARLY_HALF or least < -NEARLY_HALF


def check_inputs(x: Tensor, array: Array) -> None:
    """Raise SpokeshaveError unless inputs are whole numbers of `input_bits` bits, 0 and up."""
    if x.numel() and (int(x.min()) < 0 or int(x.max()) >> array.input_bits):
        found = f"inputs are from {int(x.min())} to {int(x.max())}"
        raise SpokeshaveError(f"{found}; the crossbar takes 0 to {(1 << array.input_bits) - 1}")


def _bits(x: Tensor) -> range:
    """The bits that are in use."""
    return range(int(x.max()).bit_length() if x.numel() else 0)


def _patterns(chunks: Tensor) -> Tensor:
    """Bits of the lowest byte of `[vectors, chunks, up to 8 rows]`, by bit: `[vectors, chunks, 8]`, uint8.

    Of bit b the pattern has, in place r, that bit of row r. Eight bytes are a square of bits in one word (the first
    byte lowest, as on every CPU that is built for here), turned over in three steps of swaps.
    """
    low = chunks if chunks.dtype == torch.uint8 else (chunks & 0xFF).to(torch.uint8)
    word = F.pad(low, (0, BYTE - chunks.shape[2])).contiguous().view(torch.int64)
    for distance, mask in SWAPS:
        swapped = (word ^ (word >> distance)) & mask
        word = word ^ swapped ^ (swapped << distance)
    return word.view(torch.uint8)


def _by_chunk(x: Tensor, rows_at_once: int) -> Tensor:
    return F.pad(x, (0, -x.shape[1] % rows_at_once)).view(len(x), -1, rows_at_once)


def _table(programmed: Programmed) -> Tensor:
    """What each fragment adds to each output for every pattern of bits, `[chunks * patterns, outputs]`."""
    rows = programmed.array.rows_at_once
    patterns = (torch.arange(1 << rows)[:, None] >> torch.arange(rows)) & 1
    made = [
        torch.einsum(
            "pgn,gn->pn",
            convert((patterns.float() @ cells.flatten(1)).view(-1, *cells.shape[1:]), programmed.array),
            coefficient,
        )
        for cells, coefficient in zip(programmed.conductances, programmed.mapped.coefficient, strict=True)
    ]
    return torch.cat(made)
