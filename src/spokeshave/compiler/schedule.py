"""How a product over many lanes runs: one record that heuristics, tuner, its cache, manifest and report share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256

import numpy as np

from spokeshave.compiler.isa import InstructionSet, level_two_cache_bytes
from spokeshave.compiler.kernels.amx import TILE
from spokeshave.compiler.kernels.reorder import similar_rows
from spokeshave.compiler.layout import CHANGES, FLOAT_BYTES, round_up

# Cycles of one column of a panel per vector of lanes: the input vector comes from the level-2 cache meanwhile, so the
# slower one counts. Fitted to the panel kernel's rates with 1, 2, 4 and 8 rows on a CPU with AVX-512
# (bench/packed_formats.py and bench/kernel_rates.py print them).
LOAD_CYCLES, COLUMN_CYCLES, ROW_CYCLES = 1.4, 0.1, 0.5
SUBSET_ROWS = 4  # rows whose subsets have loops of their own: 15; more rows would mean hundreds
PANEL_ROWS = (8, 4)  # of the panels that an estimate for no CPU in particular chooses from
ACCUMULATE_CYCLES = 2.0  # loading and storing one accumulator once more
# Lanes of the last vector that are computed with rows as lanes: what each costs, of a vector, and the share of the
# panel's rows up to which they are worth it.
LEFT_LANE, LEFT_SHARE = 0.15, 0.65
SUBSET_CYCLES = 8.0  # a loop begins and ends, once a register tile
MASK_CYCLES = 0.7  # of a column that has a mask of its own: subsets are not in the order of the shifts
# Sums by AMX: 16 rows by 4 vectors or 32 by 2, four tile registers. Cycles of a column per vector of lanes, measured
# on a Xeon with AMX: 16 a product of 16 rows and columns and 8 a tile load (35 where its rows cross cache lines), as
# Intel's optimisation reference manual says (248966, chapter on AMX); to gather a column takes 2 to 2.7, by its place.
AMX_FORMS = ((16, 4), (32, 2))
GATHER_CYCLES, TILE_CYCLES = 2.0, 1.0
# Winograd's algorithm on an AVX-512 CPU: cycles for a line that is read and for each of its vectors of tiles; for the
# points of a vector of tiles; for the outputs of one tile and the points of one kernel, each for a vector of channels;
# for a vector of outputs that is written; for a register tile's beginning and end; and for a multiply-add of two
# vectors, by vectors of outputs in a register tile: with fewer, inputs are loaded more often.
LINE_CYCLES, LINE_VECTOR_CYCLES, INPUT_CYCLES, OUTPUT_CYCLES, KERNEL_CYCLES = 16.0, 14.0, 260.0, 150.0, 100.0
STORE_CYCLES, REGISTER_TILE_CYCLES = 5.0, 58.0
MULTIPLY_ADD_CYCLES = {2: 0.49, 1: 0.63}
TILE_SIDE, POINTS = 4, 36  # outputs of a tile along each axis, and numbers that stand for it
MOST_GROUP_TILES = 56  # at a time
# Points of inputs and sums of a group that fill more of the level-2 cache than this share come from beyond it, and
# maps that are larger than it are written there, which takes so many cycles a vector longer.
POINTS_SHARE, BEYOND_CYCLES, STORE_BEYOND_CYCLES = 0.5, 2.0, 12.0
WORTH_TIMING = 1.4  # the estimate is not trusted further than this


@dataclass(frozen=True)
class Schedule:
    """What may differ between two programs that compute the same product.

    `rows` x `vectors` accumulators are the register tile; `chunk` vectors of lanes are one pass over all panels;
    workers share out lanes or else panels; with `by_blocks` the blocks of a scheme are accumulated one by one; with
    `reordered` rows of similar columns share panels; with `by_subsets` each subset of a panel's rows has columns of its
    own; with `amx` sums are made in tile registers; `left` lanes of the last vector are computed with rows as lanes,
    or up to so many where their number `changes`.
    With `winograd` the register tile is `rows` tiles of the map by `vectors` of outputs, and `chunk` rows of tiles are
    one pass.
    """

    rows: int
    vectors: int
    chunk: int
    by_lanes: bool
    by_blocks: bool = False
    reordered: bool = False
    by_subsets: bool = False
    amx: bool = False
    left: int = 0
    winograd: bool = False
    changes: bool = False


@dataclass(frozen=True)
class Tiles:
    """Rows and columns of 4 x 4 outputs that a map falls into, and how many channels are one vector.

    `pooled`: of every two by two outputs the largest alone is written.
    """

    rows: int
    columns: int
    lanes: int
    level_two_bytes: int
    pooled: bool = False

    def input_cycles(self, groups: int, chunk: int) -> float:
        """Estimated cycles for the points of one channel, `chunk` rows of tiles at a time."""
        line = LINE_CYCLES + LINE_VECTOR_CYCLES * -(-self.columns // self.lanes)
        vectors = -(-chunk * self.columns // self.lanes)
        return groups * ((TILE_SIDE * chunk + 2) * line + vectors * INPUT_CYCLES)

    def output_cycles(self, channels: int) -> float:
        """Estimated cycles for the outputs of one vector of all channels."""
        tiles = self.rows * round_up(self.columns, max(1, self.lanes // TILE_SIDE))
        written = TILE_SIDE**2 / (4 if self.pooled else 1)
        beyond = tiles * written * channels * FLOAT_BYTES > self.level_two_bytes
        return tiles * (OUTPUT_CYCLES + written * (STORE_CYCLES + STORE_BEYOND_CYCLES * beyond))

    def are_beyond(self, channels: int, block: int, together: int) -> bool:
        """Whether points of inputs and a block's sums outgrow the cache."""
        floats = POINTS * (channels * round_up(together, self.lanes) + block * together)
        return floats * FLOAT_BYTES > POINTS_SHARE * self.level_two_bytes


@dataclass(frozen=True, eq=False)
class Product:
    """A product as far as schedules depend on it: which weights are kept, and over how many lanes.

    `kept`: `[M, K / groups]`; `blocks`: row and column numbers of the blocks whose union is kept, where a scheme gave
    them; `channels`: planes read; `vectors`: vectors of lanes; `element`: type of what is read, a word of which is as
    wide as a float; `unit`: rows that stay together, since they make one word of the output; `left`: true lanes of
    the last vector where there are others, or 0, or CHANGES; `tiles`: those of the map, where Winograd's algorithm
    can compute it; `masked`: whether columns are read under masks, where maps lie without gaps.
    """

    kept: np.ndarray
    groups: int
    blocks: tuple[tuple[np.ndarray, np.ndarray], ...]
    channels: int
    vectors: int
    element: str = "float32"
    unit: int = 1
    left: int = 0
    tiles: Tiles | None = None
    masked: bool = False

    @cached_property
    def key(self) -> str:
        """Digest of everything above."""
        sizes = (
            self.kept.shape,
            self.groups,
            self.channels,
            self.vectors,
            self.element,
            self.unit,
            self.left,
            self.tiles,
            self.masked,
        )
        digest = sha256(repr(sizes).encode())
        digest.update(np.packbits(self.kept).tobytes())
        for rows, columns in self.blocks:
            digest.update(rows.astype(np.int64).tobytes() + b"|" + columns.astype(np.int64).tobytes() + b"\n")
        return digest.hexdigest()[:32]

    @cached_property
    def order(self) -> np.ndarray:
        """Rows in an order in which neighbours keep similar columns; as they are where they do so already."""
        if self.unit == 1:
            return similar_rows(self.kept, self.groups)
        in_units = self.kept.reshape(-1, self.unit, self.kept.shape[1])
        units = similar_rows(np.logical_or.reduce(in_units, axis=1), 1)
        return (units[:, None] * self.unit + np.arange(self.unit)).ravel()

    def columns_by_use(self, rows: int, reordered: bool = False) -> np.ndarray:
        """How many columns of panels of `rows` rows are used by 0, 1, ... `rows` of their rows: `[rows + 1]`."""
        kept = self.kept[self.order] if reordered else self.kept
        groups = kept.reshape(self.groups, -1, kept.shape[1]).astype(np.uint8)
        uses = np.add.reduceat(groups, np.arange(0, groups.shape[1], rows), axis=1)
        return np.bincount(uses.ravel(), minlength=rows + 1)

    def panel_columns(self, rows: int, reordered: bool = False) -> int:
        """Columns of all panels of `rows` rows together."""
        return int(self.columns_by_use(rows, reordered)[1:].sum())

    def cycles(self, schedule: Schedule) -> float:
        """Estimated cycles per vector of lanes; only comparisons between schedules of one product mean anything."""
        column = _column_cycles(schedule.rows)
        if schedule.winograd:
            return self._winograd_cycles(schedule)
        if schedule.amx:
            return self._amx_cycles(schedule)
        if schedule.by_subsets:
            return self._subset_cycles(schedule)
        if not schedule.by_blocks:
            known = schedule.left and not schedule.changes
            vectors = 1 - (1 - LEFT_LANE * schedule.left) / self.vectors if known else 1.0
            return self.panel_columns(schedule.rows, schedule.reordered) * column * vectors
        panels = [-(-len(rows) // schedule.rows) for rows, _ in self.blocks]
        lengths = [len(columns) for _, columns in self.blocks]
        accumulated = ACCUMULATE_CYCLES * schedule.rows * sum(panels)
        return column * sum(map(int.__mul__, panels, lengths)) + accumulated

    def _winograd_cycles(self, schedule: Schedule) -> float:
        """Zeros save something where all outputs of a block leave a kernel out."""
        assert self.tiles is not None
        tiles, channels, block = self.tiles, self.kept.shape[1] // 9, schedule.vectors * self.tiles.lanes
        by_block = np.logical_or.reduceat(self.kept, np.arange(0, len(self.kept), block), axis=0)
        by_channel = by_block.reshape(-1, channels, 9).any(2)
        read, kept = int(by_channel.any(0).sum()), int(by_channel.sum())
        outputs = len(by_block) * schedule.vectors
        groups, together = -(-tiles.rows // schedule.chunk), schedule.chunk * tiles.columns
        vectors = groups * -(-together // tiles.lanes)
        begun = groups * -(-together // schedule.rows) * len(by_block) * POINTS * REGISTER_TILE_CYCLES
        multiplied = tiles.rows * tiles.columns * kept * schedule.vectors * POINTS
        return (
            multiplied * MULTIPLY_ADD_CYCLES[schedule.vectors]
            + begun
            + groups * kept * schedule.vectors * KERNEL_CYCLES
            + read * tiles.input_cycles(groups, schedule.chunk)
            + outputs * tiles.output_cycles(len(self.kept))
            + (read + kept) * vectors * POINTS * BEYOND_CYCLES * tiles.are_beyond(read, block, together)
        ) / self.vectors

    def _amx_cycles(self, schedule: Schedule) -> float:
        filling = TILE / 2 * self.groups * -(-len(self.kept) // self.groups // schedule.rows)
        columns = self.panel_columns(schedule.rows, schedule.reordered) + filling
        return columns * (GATHER_CYCLES + TILE_CYCLES * schedule.rows / TILE)

    def _subset_cycles(self, schedule: Schedule) -> float:
        panels = self.groups * -(-len(self.kept) // self.groups // schedule.rows)
        loops = SUBSET_CYCLES * (1 << schedule.rows) * panels / schedule.vectors
        columns = self.columns_by_use(schedule.rows, schedule.reordered)
        mask = MASK_CYCLES * self.masked
        return loops + float(
            sum(columns[rows] * (_column_cycles(rows) + mask) for rows in range(1, len(columns)))
        )


def _column_cycles(rows: int) -> float:
    return max(LOAD_CYCLES, COLUMN_CYCLES + ROW_CYCLES * rows)


def panel_cycles(kept: np.ndarray) -> float:
    """Estimated cycles per vector of lanes of a product by panels, in which these weights `[M, K]` are kept."""
    product = Product(kept, 1, (), 0, 1)
    return min(
        product.panel_columns(rows, reordered) * _column_cycles(rows)
        for rows in PANEL_ROWS
        for reordered in (False, True)
    )


Chooser = Callable[[Product], Schedule]


def schedule_for(product: Product, isa: InstructionSet) -> Schedule:
    """The schedule with the fewest estimated cycles."""
    return min(forms(product, isa), key=product.cycles)


def rows_to_share(isa: InstructionSet, element: str) -> int:
    """How many output rows should share their kept columns for fast products over many lanes, at least.

    `element` is the type of what layers read. Fewer run as well, in panels that unite what their rows keep.

    >>> from spokeshave.compiler.isa import instruction_set
    >>> [rows_to_share(instruction_set("avx512_amx"), element) for element in ("float32", "uint8")]
    [8, 32]
    """
    return AMX_FORMS[-1][0] if isa.has_amx and element != "float32" else 8


def candidates(product: Product, isa: InstructionSet, threads: int) -> tuple[Schedule, ...]:
    """Schedules worth timing; what `schedule_for` says comes first."""
    first = schedule_for(product, isa)
    worst = WORTH_TIMING * product.cycles(first)
    every = forms(product, isa, isa.rows_by_vectors + isa.tiles_to_time)
    likely = [first, *(form for form in every if product.cycles(form) <= worst)]
    return tuple(dict.fromkeys(variant for form in likely for variant in _variants(form, product, threads)))


def forms(product: Product, isa: InstructionSet, tiles: tuple[tuple[int, int], ...] = ()) -> list[Schedule]:
    """One schedule for each register tile: over panels of rows as they are and reordered, by subsets, over blocks."""
    orders = (False, True) if (np.diff(product.order) != 1).any() else (False,)
    subsets = (False, True) if product.element == "float32" else (False,)
    ways = [(False, order, by_subsets) for order in orders for by_subsets in subsets]
    ways += [(True, False, False)] if product.blocks else []
    amx = [
        Schedule(rows, vectors, *_passes(product, isa, vectors, False), reordered=order, amx=True)
        for rows, vectors in AMX_FORMS
        for order in orders
        if isa.has_amx and product.element != "float32"
    ]
    return (
        amx
        + _winograd(product, isa)
        + [
            _with_left(
                Schedule(
                    rows, vectors, *_passes(product, isa, vectors, by_blocks), by_blocks, order, by_subsets
                ),
                product,
                isa,
            )
            for rows, vectors in tiles or isa.rows_by_vectors
            if rows % product.unit == 0
            for by_blocks, order, by_subsets in ways
            if not by_subsets or rows == SUBSET_ROWS
        ]
    )


def _with_left(form: Schedule, product: Product, isa: InstructionSet) -> Schedule:
    """Lanes of the last vector to compute with rows as lanes; more than one only where a vector holds the rows."""
    most = max(1, int(LEFT_SHARE * form.rows)) if form.rows <= isa.lanes else 1
    if form.by_blocks or form.by_subsets or product.vectors == 1:
        return form
    if product.left == CHANGES:
        return replace(form, left=most, changes=True)
    return replace(form, left=product.left) if product.left <= most else form


def _winograd(product: Product, isa: InstructionSet) -> list[Schedule]:
    """Schedules that take few rows of tiles at a time, and as many every time."""
    tiles = product.tiles
    if tiles is None:
        return []
    least = -(-tiles.rows // max(1, MOST_GROUP_TILES // tiles.columns))
    chunks = {-(-tiles.rows // min(tiles.rows, least * times)) for times in (1, 2, 4)}
    return [
        Schedule((isa.registers - 2 * vectors) // vectors, vectors, chunk, False, winograd=True)
        for vectors in MULTIPLY_ADD_CYCLES
        for chunk in sorted(chunks, reverse=True)
    ]


def _passes(product: Product, isa: InstructionSet, tile: int, by_blocks: bool) -> tuple[int, bool]:
    """Chunk: the planes read in one pass fill half of the level-2 cache. Workers share out what is more, activations
    or weights; blocks may write the same rows, so for them always lanes."""
    lane_bytes = product.channels * isa.lanes * FLOAT_BYTES
    fitting = level_two_cache_bytes(isa) // 2 // lane_bytes
    chunk = min(product.vectors, max(tile, fitting // tile * tile))
    weights = int(np.count_nonzero(product.kept)) * FLOAT_BYTES
    return chunk, by_blocks or product.vectors * lane_bytes > weights


def _variants(form: Schedule, product: Product, threads: int) -> Iterator[Schedule]:
    yield form
    if form.winograd and product.tiles:
        yield replace(form, chunk=min(product.tiles.rows, 2 * form.chunk))
        return
    for chunk in (product.vectors, max(form.vectors, form.chunk // 2)):
        yield replace(form, chunk=chunk)
    if threads > 1 and not form.by_blocks:
        yield replace(form, by_lanes=not form.by_lanes)
