"""A CSB engine (arXiv 2005.05758): lanes that own bands of block rows, and neighbours that share their work.

Every block is a small dense matrix of the rows and columns that it keeps. A lane multiplies two of its rows with
`columns` of its columns a cycle, an *item*, with two products a DSP block; item by item, which lane does it is decided
beforehand (`shared`): its own, or a neighbour that hands the sums over when they are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.devices.fpga.verilog.lanes import pair_codes, pair_dot_product
from spokeshave.devices.fpga.verilog.module import Module, Port, bits_for, clock, written
from spokeshave.schemes.packed import DenseBlocks

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


def items_of(packed: DenseBlocks, levels: Tensor, block_rows: int, engine: BlockEngine) -> list[list[Item]]:
    """What each lane owns: bands of `block_rows` rows, dealt out in turn; `levels` are the matrix in whole numbers."""
    owned: list[list[Item]] = [[] for _ in range(engine.lanes)]
    for block in packed.blocks:
        rows, columns = block.rows.long(), block.columns.long()
        if len(rows) == 0 or len(columns) == 0:
            continue
        band = int(rows[0]) // block_rows
        start = (band // engine.lanes) * block_rows - band * block_rows
        for first in range(0, len(rows), 2):
            pair = rows[first : first + 2]
            for left in range(0, len(columns), engine.columns):
                places = columns[left : left + engine.columns]
                weights = torch.zeros(2, engine.columns, dtype=torch.int64)
                weights[: len(pair), : len(places)] = levels[pair][:, places].long()
                padded = torch.zeros(engine.columns, dtype=torch.int64)
                padded[: len(places)] = places
                local = (int(pair[0]) + start, int(pair[-1]) + start)
                owned[band % engine.lanes].append(Item(local, padded, weights))
    return owned


def shared(loads: Sequence[int]) -> list[tuple[int, int]]:
    """How many of its items each lane gives to the lane before and behind, so that the longest is shortest.

    >>> shared([9, 1, 2, 0])
    [(0, 4), (0, 0), (0, 0), (0, 0)]
    """
    low, high = -(-sum(loads) // max(len(loads), 1)), max(loads, default=0)
    while low < high:
        middle = (low + high) // 2
        if _given(loads, middle) is None:
            low = middle + 1
        else:
            high = middle
    found = _given(loads, high)
    assert found is not None
    return found


def _given(loads: Sequence[int], most: int) -> list[tuple[int, int]] | None:
    """The same where no lane may do more than `most`: what there is room for goes before, what is left over behind."""
    found: list[tuple[int, int]] = []
    room, received = 0, 0  # of the lane before, and what it gives to this one
    for load in loads:
        to_before = min(room, load)
        left = load - to_before + received
        to_behind = max(0, left - most)
        if to_behind > load - to_before:
            return None
        found.append((to_before, to_behind))
        room, received = most - (left - to_behind), to_behind
    return found if received == 0 else None


def programs(
    owned: Sequence[Sequence[Item]], given: Sequence[tuple[int, int]]
) -> list[list[tuple[int, Item]]]:
    """Whose item each lane does in each cycle."""
    found: list[list[tuple[int, Item]]] = [[] for _ in owned]
    for lane, (items, (to_before, to_behind)) in enumerate(zip(owned, given, strict=True)):
        own = len(items) - to_before - to_behind
        found[lane] += [(OWN, item) for item in items[:own]]
        for number, item in enumerate(items[own:]):
            neighbour, whose = (lane - 1, BEHIND) if number < to_before else (lane + 1, BEFORE)
            found[neighbour].append((whose, item))
    return found


def item_words(engine: BlockEngine, program: Sequence[Sequence[tuple[int, Item]]]) -> list[int]:
    """What stands at `items` in each cycle; lanes that have nothing to do read zeros."""
    bits = sum(engine.fields)
    words = []
    for cycle in range(max(len(items) for items in program)):
        each = [_word(engine, *items[cycle]) if cycle < len(items) else 0 for items in program]
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
