"""A CSB engine (arXiv 2005.05758): lanes that own bands of block rows, and neighbours that share their work.

Every block is a small dense matrix of the rows and columns that it keeps. A lane multiplies two of its rows with
`columns` of its columns a cycle, an *item*, with two products a DSP block; item by item, which lane does it is decided
beforehand (`csb.schedule`): its own, or a neighbour that hands the sums over when they are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.devices.fpga.csb import CSBSchedule, Piece
from spokeshave.devices.fpga.verilog.lanes import pair_codes, pair_dot_product
from spokeshave.devices.fpga.verilog.module import Module, Port, bits_for, clock, written

BITS, SUM_BITS = 8, 32
OWN, BEFORE, BEHIND = 0, 1, 2


@dataclass(frozen=True)
class BlockEngine:
    """`lanes` side by side, each of `2 * columns` products a cycle, for vectors of `inputs` int8 numbers."""

    lanes: int
    columns: int
    rows: int  # of a lane's own
    inputs: int

    @property
    def row_bits(self) -> int:
        """Bits of a row's number in its lane."""
        return bits_for(self.rows)

    @property
    def fields(self) -> tuple[int, ...]:
        """Bits of an item's fields: valid, whose, two rows, places of columns, two rows of weights."""
        places = self.columns * bits_for(self.inputs)
        return 1, 2, self.row_bits, self.row_bits, places, 2 * self.columns * BITS


@dataclass(frozen=True)
class Item:
    """Two rows (of the lane that owns them) times some columns; weights `[2, columns]`."""

    rows: tuple[int, int]
    places: Tensor
    weights: Tensor


Program = list[list[tuple[int, Item] | None]]  # whose item each lane does in each cycle, None where it waits


def program_of(found: CSBSchedule, levels: Tensor, block_rows: int, engine: BlockEngine) -> Program:
    """A schedule as the engine carries it out, tile by tile; `levels` are its matrix in whole numbers.

    A group is a lane: the schedule is of a chain (`across` 1) of as many, of two rows and as many columns.
    """
    program: Program = [[] for _ in range(engine.lanes)]
    for tile in found.tiles:
        for piece in tile:
            (lane, _), (owner, _) = piece.group, piece.owner
            whose = {0: OWN, -1: BEFORE, 1: BEHIND}[owner - lane]
            program[lane] += [(whose, item) for item in _items(piece, levels, block_rows, engine)]
        longest = max(len(items) for items in program)
        for items in program:
            items += [None] * (longest - len(items))
    return program


def _items(piece: Piece, levels: Tensor, block_rows: int, engine: BlockEngine) -> Iterator[Item]:
    """Rows two by two, of each the columns from left to right; a lane's own bands of rows lie behind each other."""
    if len(piece.rows) == 0:
        return  # all of it is given to neighbours
    band = int(piece.rows[0]) // block_rows
    local = piece.rows - band * block_rows + band // engine.lanes * block_rows
    for first in range(0, len(piece.rows), 2):
        rows, numbers = piece.rows[first : first + 2], local[first : first + 2]
        for left in range(0, len(piece.columns), engine.columns):
            places = piece.columns[left : left + engine.columns]
            weights = torch.zeros(2, engine.columns, dtype=torch.int64)
            weights[: len(rows), : len(places)] = levels[rows][:, places].long()
            padded = torch.zeros(engine.columns, dtype=torch.int64)
            padded[: len(places)] = places
            yield Item((int(numbers[0]), int(numbers[-1])), padded, weights)


def item_words(engine: BlockEngine, program: Program) -> list[int]:
    """What stands at `items` in each cycle; lanes that wait read zeros."""
    bits = sum(engine.fields)
    words = []
    for cycle in zip(*program, strict=True):
        each = [_word(engine, *given) if given is not None else 0 for given in cycle]
        words.append(sum(word << lane * bits for lane, word in enumerate(each)))
    return words


def _word(engine: BlockEngine, whose: int, item: Item) -> int:
    codes = torch.cat(pair_codes(item.weights[0], item.weights[1]))
    values = [1, whose, *item.rows, _joined(item.places, bits_for(engine.inputs)), _joined(codes, BITS)]
    word = start = 0
    for value, bits in zip(values, engine.fields, strict=True):
        word, start = word | value << start, start + bits
    return word


def _joined(values: Tensor, bits: int) -> int:
    """Numbers side by side, the first in the lowest bits."""
    return sum((value & (1 << bits) - 1) << index * bits for index, value in enumerate(values.tolist()))


def block_lane(engine: BlockEngine) -> Module:
    """One lane: `sums` are those of `row` for itself, for the lane before and for the one behind."""
    product = pair_dot_product(engine.columns, BITS, 8)
    row, place = engine.row_bits, bits_for(engine.inputs)
    numbers = {
        "COLUMNS": engine.columns,
        "BITS": BITS,
        "X_BITS": 8,
        "PLACE": place,
        "PARTIAL": product.port("first_sum").bits,
        "SUM": SUM_BITS,
        "ROWS": 1 << row,
        "ROW": row,
        "DELAY": product.latency + 1,
        "FOLLOWING": 3 + 2 * row,
    }
    ports = (
        clock(),
        Port("reset", 1),
        Port("x", 8 * engine.inputs),
        Port("row", row),
        Port("valid", 1),
        Port("whose", 2),
        Port("first_row", row),
        Port("second_row", row),
        Port("places", engine.columns * place),
        Port("weights", 2 * engine.columns * BITS),
        Port("sums", 3 * SUM_BITS, "output"),
    )
    return written("block_lane", "block_lane", ports, numbers, uses={"product": product})


def block_engine(engine: BlockEngine) -> Module:
    """All lanes: an item each a cycle in `items`; `totals` are those of `row` of each lane."""
    fields = engine.fields
    numbers = {
        "LANES": engine.lanes,
        "SUM": SUM_BITS,
        "ITEM": sum(fields),
        "ROW": engine.row_bits,
        "PLACES": fields[4],
        "WEIGHTS": fields[5],
    }
    ports = (
        clock(),
        Port("reset", 1),
        Port("x", 8 * engine.inputs),
        Port("row", engine.row_bits),
        Port("items", engine.lanes * sum(fields)),
        Port("totals", engine.lanes * SUM_BITS, "output", signed=True, numbers=engine.lanes),
    )
    return written("block_engine", "block_engine", ports, numbers, uses={"lane": block_lane(engine)})
