"""A matrix product cut into the engine's jobs, in the order in which it does them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from spokeshave.devices.fpga.engine import PARAMETER_DEPTH, Engine, LaneKind
from spokeshave.errors import SpokeshaveError

Outer = Literal["rows", "positions"]
HOLDS: dict[
    LaneKind, tuple[LaneKind, ...]
] = {  # the formats of weights that a lane computes with, its own first
    "int8": ("int8", "int4", "shift"),
    "int4": ("int4",),
    "shift": ("shift",),
    "binary": ("binary",),
}
TAKEN: tuple[LaneKind, ...] = ("shift", "int4")  # by int8 lanes, the last of all lanes first


@dataclass(frozen=True)
class Product:
    """`[rows, columns] @ [columns, positions]`; `rows` by the format of their weights."""

    rows: tuple[tuple[LaneKind, int], ...]
    columns: int
    positions: int

    @property
    def row_count(self) -> int:
        """All rows."""
        return sum(count for _, count in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Products of two numbers in it."""
        return self.row_count * self.columns * self.positions


@dataclass(frozen=True)
class Job:
    """What is loaded, computed and stored together; `words` of columns for each of `positions`."""

    row_tile: int
    column_pass: int
    position_tile: int
    words: int
    positions: int
    loads_weights: bool
    loads_inputs: bool
    first: bool
    last: bool
    output_words: int
    parameter_words: int
    weight_base: int = 0
    parameter_base: int = 0


def stays(engine: Engine, product: Product) -> bool:
    """Whether all weights of a product fit one half of the memory, so that they can stay for many."""
    tiles, words = row_tiles(engine, product), -(-product.columns // engine.columns)
    return tiles * words <= engine.depth and tiles * engine.parameter_words <= PARAMETER_DEPTH


def loading_job(engine: Engine, product: Product) -> Job:
    """Loads all weights and parameters of a product, which fit (`stays`); one word that comes of it means nothing."""
    tiles = row_tiles(engine, product)
    return Job(
        row_tile=0,
        column_pass=0,
        position_tile=0,
        words=tiles * -(-product.columns // engine.columns),
        positions=1,
        loads_weights=True,
        loads_inputs=False,
        first=True,
        last=True,
        output_words=1,
        parameter_words=tiles * engine.parameter_words,
    )


def row_tiles(engine: Engine, product: Product) -> int:
    """Tiles of rows, each with a row for every lane, until all rows have had one.

    Rows stay on lanes of their own format; int8 lanes, which hold int4's and powers of two as well, take over what
    would keep the others busy longer, and what they have room for (`kept_rows`). Raises SpokeshaveError for formats
    that no lane computes with.

    >>> from spokeshave.devices.fpga.engine import Lanes
    >>> row_tiles(Engine(Lanes(int8=4, shift=8), 16), Product((("int8", 8), ("shift", 24)), 64, 10))
    3
    """
    waiting = dict(product.rows)
    for kind, count in waiting.items():
        if count and not any(engine.lanes.of(lane) for lane, held in HOLDS.items() if kind in held):
            raise SpokeshaveError(f"the engine has no lanes for {kind} weights")
    most = -(-product.row_count // engine.rows)
    while not _served(engine, waiting, most):
        most += 1
    return most


def rows_of_tiles(engine: Engine, product: Product) -> tuple[dict[LaneKind, int], ...]:
    """How many lanes of each kind have a row, by tile: a kind's lanes take its rows in order, tile after tile.

    >>> from spokeshave.devices.fpga.engine import Lanes
    >>> rows_of_tiles(Engine(Lanes(int8=4, shift=2), 16), Product((("int8", 5), ("shift", 6)), 64, 10))
    ({'int8': 4, 'int4': 0, 'shift': 2, 'binary': 0}, {'int8': 4, 'int4': 0, 'shift': 1, 'binary': 0})
    """
    tiles, waiting = row_tiles(engine, product), dict.fromkeys(HOLDS, 0) | dict(product.rows)
    for kind, kept in kept_rows(engine, waiting, tiles).items():
        waiting["int8"], waiting[kind] = waiting["int8"] + waiting[kind] - kept, kept
    return tuple(
        {
            kind: min(engine.lanes.of(kind), max(0, count - tile * engine.lanes.of(kind)))
            for kind, count in waiting.items()
        }
        for tile in range(tiles)
    )


def kept_rows(engine: Engine, waiting: Mapping[LaneKind, int], tiles: int) -> dict[LaneKind, int]:
    """How many rows of powers of two and of int4 stay on lanes of their own; int8 lanes take the others.

    They take all that they have room for: lanes behind them that have no row need no outputs.
    """
    room = tiles * engine.lanes.int8 - waiting.get("int8", 0)
    forced = {kind: max(0, waiting.get(kind, 0) - tiles * engine.lanes.of(kind)) for kind in TAKEN}
    room -= sum(forced.values())
    kept = {}
    for kind in TAKEN:
        own = waiting.get(kind, 0) - forced[kind]
        kept[kind] = own - min(room, own)
        room -= own - kept[kind]
    return kept


def _output_words(engine: Engine, rows: Mapping[LaneKind, int]) -> int:
    """Words of outputs up to the last lane that has a row."""
    start = last = 0
    for kind, count in rows.items():
        last = start + count if count else last
        start += engine.lanes.of(kind)
    return -(-last // engine.outputs)


def _served(engine: Engine, waiting: Mapping[LaneKind, int], tiles: int) -> bool:
    """Whether so many tiles have a place for every row."""
    room = tiles * engine.lanes.int8 - waiting.get("int8", 0)
    over = sum(max(0, waiting.get(kind, 0) - tiles * engine.lanes.of(kind)) for kind in ("int4", "shift"))
    return over <= room and waiting.get("binary", 0) <= tiles * engine.lanes.binary


def jobs(engine: Engine, product: Product, outer: Outer = "rows", resident: bool = False) -> Iterator[Job]:
    """The jobs of a product; `outer` says whether tiles of rows or of positions change last.

    `resident`: its weights (which fit: `stays`) have been loaded before.

    >>> from spokeshave.devices.fpga.engine import Lanes
    >>> small = Engine(Lanes(int8=4), columns=8, depth=2, positions=3)
    >>> for job in jobs(small, Product((("int8", 4),), 24, 5)):
    ...     print(job.position_tile, job.column_pass, job.words, job.positions, job.first, job.last)
    0 0 2 3 True False
    0 1 1 3 False True
    1 0 2 2 True False
    1 1 1 2 False True
    """
    words = -(-product.columns // engine.columns)
    passes = _evenly(words, -(-words // engine.depth))
    held = min(engine.most_positions, engine.input_words // max(passes))
    most = held if outer == "rows" else engine.positions  # smaller ones begin sooner, but load weights again
    spans = _evenly(product.positions, -(-product.positions // most))
    outputs = [_output_words(engine, rows) for rows in rows_of_tiles(engine, product)]
    held_weights = held_inputs = (-1, -1)
    for row_tile, position_tile in _tiles(len(outputs), len(spans), outer):
        for number, size in enumerate(passes):
            weights, inputs = (row_tile, number), (position_tile, number)
            yield Job(
                row_tile=row_tile,
                column_pass=number,
                position_tile=position_tile,
                words=size,
                positions=spans[position_tile],
                loads_weights=weights != held_weights and not resident,
                loads_inputs=inputs != held_inputs,
                first=number == 0,
                last=number == len(passes) - 1,
                output_words=outputs[row_tile],
                parameter_words=engine.parameter_words,
                weight_base=row_tile * sum(passes) if resident else 0,
                parameter_base=row_tile * engine.parameter_words if resident else 0,
            )
            held_weights, held_inputs = weights, inputs


def _evenly(total: int, parts: int) -> list[int]:
    """So many in parts as equal as they can be, the larger ones first.

    >>> _evenly(197, 4)
    [50, 49, 49, 49]
    """
    return [total // parts + (number < total % parts) for number in range(parts)]


def _tiles(rows: int, positions: int, outer: Outer) -> Iterator[tuple[int, int]]:
    if outer == "rows":
        return ((row, position) for row in range(rows) for position in range(positions))
    return ((row, position) for position in range(positions) for row in range(rows))
