"""Rows that keep different columns, packed for one or a few vectors: a column each within a common short segment.

A slot of a panel has one weight of every row, of int8 a word of four, all within `segment` columns from a common start.
Slots are made greedily: the next begins where the row that lags behind goes on, and every row whose next weights it
reaches is served.
N:M, banks and the row groups of DARB come out without a padded weight; of weights scattered in any other way, longer
segments leave fewer rows waiting.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.instances import (
    SEGMENT_LENGTHS,
    VECTOR_ROWS,
    place_bits,
    places_per_word,
)
from spokeshave.compiler.kernels.packing import MOST_PIECES, PANEL_BYTES, SCATTER_BYTES

SAMPLED_PANELS = 12  # that tell what packing a matrix in one way or another would stream
# What streams by, by lanes and by length of segment, in the time that a slot takes on top of its weights, and each
# vector of picked lanes: the loads, permutations and choices of `segments.h`. Fitted to 1024 x 1024 products on Zen 5.
SLOT_AND_PICK_BYTES = {
    16: {16: (2, 0), 32: (40, 0), 64: (90, 0), 128: (200, 0)},
    8: {16: (2, 20), 32: (2, 90), 64: (2, 220), 128: (2, 480)},
    4: dict.fromkeys(SEGMENT_LENGTHS, (2, 64)),
}
# The same of int8 words of four (`segment_bytes.h`), by what permutes bytes; of aarch64 counted, not measured. Other
# CPUs with four lanes pick bytes one by one, which gains nothing over words that rows share.
WORD_SLOT_AND_PICK_BYTES: dict[str | int, dict[int, tuple[int, int]]] = {
    "avx512vbmi": {16: (12, 0), 64: (16, 0), 128: (40, 0)},
    "aarch64": {16: (8, 8), 64: (8, 32)},
    16: {16: (12, 0), 64: (50, 70)},
    8: {16: (16, 0), 64: (8, 54)},
    4: {},
}
WORD_BYTES = 4
MOST_SHORT_PIECES = (
    2  # registers that the rows of a panel fill: where hardly anything is loaded for all, more are slower
)
# Of the float32 bytes that panels stream, by lanes, the part that segments may stream at most to be faster where all
# stays in the caches: matrices of 128 columns whose rows share columns partly (CSB, BSP) are 15 to 50 % slower in
# segments at 0.66 to 0.84 of the bytes, scattered ones twice as fast at 0.34 (Zen 5; not measured of fewer lanes).
# Of panels whose rows are in an order of their own: a tenth to a third faster in segments at up to 0.82 (DARB,
# unstructured), slower from 0.86 (blocks of 4 rows) and by far at 1.1 to 1.2 (CSB).
MOST_OF_PANELS, MOST_OF_SCATTERED_PANELS = {16: 0.6}, {16: 0.85}


@dataclass(frozen=True)
class SegmentPanels:
    """Groups of `rows` matrix rows whose columns lie in common segments.

    `columns`: where each slot's segment begins, all panels' one after the other; `column_start`: panels + 1 positions
    in it; `weights`, `places`: `[slots, rows]`, a weight and how far behind the segment's start its column is; 0 and 0
    where a row has none; `row_numbers`: `[panels * rows]`, the last row repeated to fill the last panel. Weights of
    int8 are words of four, `each`, and so are their places.
    """

    rows: int
    segment: int
    each: int
    columns: np.ndarray
    column_start: np.ndarray
    weights: np.ndarray
    places: np.ndarray
    row_numbers: np.ndarray

    @property
    def count(self) -> int:
        """Number of panels."""
        return len(self.column_start) - 1

    @property
    def scattered(self) -> bool:
        """Whether rows are in an order of their own."""
        return bool((np.diff(self.row_numbers) < 0).any())

    def place_words(self) -> np.ndarray:
        """Places as the kernels read them, int32 `[words, rows]`: several slots' to a word, the first one lowest.

        The words of panel p begin at word `column_start[p] // places_per_word + p`, which is behind those of panels
        before; so hardly a word a panel is unused, and none is read.
        """
        shared = places_per_word(self.segment, self.each)
        slot = np.arange(len(self.places))
        panel = np.repeat(np.arange(self.count), np.diff(self.column_start))
        within = slot - self.column_start[panel]
        word = self.column_start[panel] // shared + panel + within // shared
        words = np.zeros((len(slot) // shared + self.count + 1, self.rows), np.uint32)
        shift = (within % shared * place_bits(self.segment)).astype(np.uint32)
        np.bitwise_or.at(words, word, self.places << shift[:, None])
        return words.view(np.int32)


@dataclass(frozen=True)
class Way:
    """How a matrix may be packed: rows a panel, columns a segment, rows by their number of weights or as they are."""

    rows: int
    segment: int
    by_weights: bool


def best_segments(
    matrix: np.ndarray,
    isa: InstructionSet,
    half: bool,
    streamed: float,
    groups: int = 1,
    scattered: bool = False,
) -> SegmentPanels | None:
    """Pack a matrix `[M, K]` in segments if that is faster than panels that stream so many bytes, in the best way.

    Its weights are float32, or int8. With `half` they are bfloat16 numbers, which go by twos: a panel fills at least
    two registers. A panel's rows are of one of the `groups` of neighbouring rows. `scattered`: whether the rows of
    those panels are in an order of their own.
    """
    kept, each = matrix != 0, _each(matrix)
    most = MOST_OF_SCATTERED_PANELS if scattered else MOST_OF_PANELS
    streamed *= most.get(isa.lanes, 1) if each == 1 else 1
    least = np.count_nonzero(kept) / each * (4 + 4 / places_per_word(SEGMENT_LENGTHS[0], each))
    ways = list(_ways(kept, isa, half, each)) if least < streamed else []
    costs = [_streamed_bytes(kept, way, isa, each, groups) for way in ways]
    if not ways or min(costs) >= streamed:
        return None
    best = ways[int(np.argmin(costs))]
    return pack_segments(matrix, best, isa.lanes, groups)


def _each(matrix: np.ndarray) -> int:
    """How many of its weights make a word."""
    return WORD_BYTES // matrix.dtype.itemsize


def _costs(isa: InstructionSet, each: int) -> dict[int, tuple[int, int]]:
    """By length of segment, the lengths that there are kernels for."""
    if each == 1:
        return SLOT_AND_PICK_BYTES[isa.lanes]
    names = [name for name in (*isa.features, isa.machine) if name in WORD_SLOT_AND_PICK_BYTES]
    return WORD_SLOT_AND_PICK_BYTES[names[0] if names else isa.lanes]


def _ways(kept: np.ndarray, isa: InstructionSet, half: bool, each: int) -> Iterator[Way]:
    counts, registers = kept.sum(axis=1), isa.lanes * (1 + half)
    orders = (False, True) if (counts != counts[0]).any() else (False,)
    for segment in _costs(isa, each):
        most = MOST_SHORT_PIECES if each == 1 and segment == SEGMENT_LENGTHS[0] else MOST_PIECES
        for rows in VECTOR_ROWS:
            if rows % registers == 0 and rows <= most * isa.lanes and segment <= kept.shape[1]:
                yield from (Way(rows, segment, by_weights) for by_weights in orders)


def _members(kept: np.ndarray, way: Way, groups: int) -> np.ndarray:
    """Row numbers `[panels, rows]`, group by group; the last row fills a group's last panel."""
    counts = kept.sum(axis=1).reshape(groups, -1)
    order = np.argsort(-counts * way.by_weights, axis=1, kind="stable")
    order = np.pad(order, ((0, 0), (0, -order.shape[1] % way.rows)), "edge")
    return (order + np.arange(groups)[:, None] * counts.shape[1]).reshape(-1, way.rows)


def _streamed_bytes(kept: np.ndarray, way: Way, isa: InstructionSet, each: int, groups: int) -> float:
    """What one product reads, and its fixed shares of time as bytes; a few panels stand for all."""
    members = _members(kept, way, groups)
    sample = members[np.unique(np.linspace(0, len(members) - 1, SAMPLED_PANELS).round().astype(int))]
    slots = sum(int(active.sum()) for _, active, _, _ in _slots(kept, sample, way.segment, isa.lanes, each))
    fixed, pick = _costs(isa, each)[way.segment]
    slot = way.rows * (4 + 4 / places_per_word(way.segment, each) + pick / isa.lanes) + fixed
    panel = PANEL_BYTES + SCATTER_BYTES * way.rows * way.by_weights
    return len(members) * (slots / len(sample) * slot + panel)


def pack_segments(matrix: np.ndarray, way: Way, align: int, groups: int = 1) -> SegmentPanels:
    """Pack a matrix `[M, K]`, K at least a segment; segments begin at multiples of `align`, or end with the row."""
    kept, each = matrix != 0, _each(matrix)
    members = _members(kept, way, groups)
    found = list(_slots(kept, members, way.segment, align, each))
    shape = (len(found), *members.shape, each)
    starts = np.array([start for start, *_ in found], np.int64).reshape(shape[:2])
    active = np.array([active for _, active, _, _ in found], bool).reshape(shape[:2])
    taken = np.array([taken for *_, taken, _ in found], bool).reshape(shape)
    columns = np.array([columns for *_, columns in found], np.int64).reshape(shape)
    panel, slot = np.nonzero(active.T)
    taken, columns, starts = taken[slot, panel], columns[slot, panel], starts[slot, panel]
    columns = np.where(taken, columns, starts[:, None, None])
    weights = np.where(taken, matrix[members[panel][..., None], columns], 0).astype(matrix.dtype)
    places = (columns - starts[:, None, None]).astype(f"u{matrix.dtype.itemsize}")
    return SegmentPanels(
        way.rows,
        way.segment,
        each,
        starts,
        np.searchsorted(panel, np.arange(len(members) + 1)).astype(np.int32),
        weights.view(np.int32 if each > 1 else matrix.dtype)[..., 0],
        places.view(np.uint32)[..., 0],
        members.ravel().astype(np.int32),
    )


Slot = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _slots(kept: np.ndarray, members: np.ndarray, segment: int, align: int, each: int) -> Iterator[Slot]:
    """The next slot of every panel, until none has one: starts, which panels have one, which weights, their columns."""
    width, counts = kept.shape[1], kept.sum(axis=1)
    lists = np.full((len(kept), int(counts.max(initial=0)) + each), width)
    row, column = np.nonzero(kept)
    lists[row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)] = column
    done = np.zeros_like(members)
    while True:
        following = lists[members[..., None], done[..., None] + np.arange(each)]
        first = following[..., 0].min(axis=1)
        active = first < width
        if not active.any():
            return
        start = np.minimum(first // align * align, width - segment)
        taken = (following < start[:, None, None] + segment) & (following < width)
        yield start, active, taken, following
        done += taken.sum(axis=2)
