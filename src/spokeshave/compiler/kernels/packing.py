"""Weights in the order in which a kernel uses them.

The packers start from the zeros of the matrix, so a network pruned elsewhere is packed as well as one pruned here;
a `DenseBlocks` weight whose kept rows differ between the blocks of a strip is packed block by block.
"""

from dataclasses import dataclass, replace

import numpy as np

from spokeshave.compiler.isa import InstructionSet, level_two_cache_bytes
from spokeshave.compiler.kernels.instances import VECTOR_ROWS
from spokeshave.compiler.kernels.panel import PREFETCH_COLUMNS
from spokeshave.compiler.kernels.reorder import similar_rows
from spokeshave.compiler.schedule import Schedule

MOST_PIECES = 4  # registers that the rows of a vector kernel's panel fill
# What streams by in the time in which a panel begins and ends, in which a row is stored by its number, and, by lanes,
# at least while a column is added, however few its rows. Fitted to CSB, BSP and single weights in matrices of 128 to
# 1024 columns on Zen 5 (columns: not measured of fewer lanes).
PANEL_BYTES, SCATTER_BYTES, COLUMN_BYTES = 600, 48, {16: 40}


@dataclass(frozen=True)
class Panels:
    """Groups of `rows` matrix rows with a common column list each.

    `columns`: column numbers, all panels' one after the other; `column_start`: panels + 1 positions in it;
    `weights`: `[len(columns), rows]`; `row_numbers`: `[panels * rows]`. A panel that has fewer rows repeats its
    last one: it computes and stores the same sums twice, and no kernel needs to know.
    """

    rows: int
    columns: np.ndarray
    column_start: np.ndarray
    weights: np.ndarray
    row_numbers: np.ndarray

    @property
    def count(self) -> int:
        """Number of panels."""
        return len(self.column_start) - 1

    @property
    def scattered(self) -> bool:
        """Whether rows are in an order of their own."""
        return bool((np.diff(self.row_numbers) < 0).any())

    @property
    def scatter_bytes(self) -> int:
        """What streams by in the time in which rows of such an order are stored."""
        return SCATTER_BYTES * len(self.row_numbers) * self.scattered


def pack_panels(matrix: np.ndarray, rows: int, groups: int = 1, order: np.ndarray | None = None) -> Panels:
    """Pack a `[M, K / groups]` matrix; row m of convolution group g reads columns g * (K / groups) + k.

    Panels take rows in the given order, which keeps groups together.
    """
    if order is not None:
        panels = pack_panels(matrix[order], rows, groups)
        return replace(panels, row_numbers=order[panels.row_numbers].astype(np.int32))
    height, width = matrix.shape
    per_group = height // groups
    tops = np.arange(0, per_group, rows)
    members = np.minimum(tops[:, None] + np.arange(rows), per_group - 1)  # [panels of one group, rows]
    members = (np.arange(groups)[:, None, None] * per_group + members).reshape(-1, rows)
    kept = np.logical_or.reduceat((matrix != 0).reshape(groups, per_group, width), tops, axis=1)
    panel, column = np.nonzero(kept.reshape(-1, width))
    starts = np.searchsorted(panel, np.arange(len(members) + 1)).astype(np.int32)
    columns = column + panel // len(tops) * width
    return Panels(
        rows, columns, starts, matrix[members[panel], column[:, None]], members.ravel().astype(np.int32)
    )


def in_groups(panels: Panels, group: np.ndarray, groups: int) -> tuple[Panels, np.ndarray]:
    """The same panels, the columns of each in the order of their groups, and where these end: `[panels, groups]`."""
    panel = np.repeat(np.arange(panels.count), np.diff(panels.column_start))
    place = panel * groups + group
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=panels.count * groups).reshape(panels.count, groups)
    ordered = replace(panels, columns=panels.columns[order], weights=panels.weights[order])
    return ordered, np.cumsum(counts, axis=1).astype(np.int32)


def pack_blocks(blocks: list[tuple[np.ndarray, np.ndarray, np.ndarray]], rows: int) -> Panels:
    """Pack dense blocks (row numbers, column numbers, values) each into panels of its own, to be accumulated."""
    pieces = []
    for members, columns, values in blocks:
        tops = range(0, len(members), rows)
        pieces += [(members[top : top + rows], columns, values[top : top + rows]) for top in tops]
    return _join(pieces, rows)


def _join(pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]], rows: int) -> Panels:
    """Put panels one behind the other; a panel with fewer rows repeats its last one."""
    row_numbers = np.zeros((len(pieces), rows), np.int32)
    lengths = [len(columns) for _, columns, _ in pieces]
    weights = np.zeros((sum(lengths), rows), pieces[0][2].dtype if pieces else np.float32)
    position = 0
    for index, (members, columns, values) in enumerate(pieces):
        present = np.minimum(np.arange(rows), len(members) - 1)
        row_numbers[index] = members[present]
        weights[position : position + len(columns)] = values[present].T
        position += len(columns)
    all_columns = np.concatenate([columns for _, columns, _ in pieces]) if pieces else np.zeros(0)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Panels(rows, all_columns.astype(np.int64), starts.astype(np.int32), weights, row_numbers.ravel())


def best_vectors(matrix: np.ndarray, isa: InstructionSet, groups: int = 1) -> Panels:
    """Pack a matrix for one or a few vectors: the rows of a panel are the lanes; the fewest bytes win."""
    heights = [rows for rows in VECTOR_ROWS if rows <= MOST_PIECES * isa.lanes]
    orders = row_orders(matrix != 0, groups)
    found = [pack_panels(matrix, rows, groups, order) for rows in heights for order in orders]
    return min(found, key=lambda panels: streamed_bytes(panels, isa))


def row_orders(kept: np.ndarray, groups: int) -> list[np.ndarray | None]:
    """Orders worth trying: rows as they are, and rows of like columns, such as pruned ones, side by side."""
    order = similar_rows(kept, groups)
    return [None] if (np.diff(order) > 0).all() else [None, order]


def streamed_bytes(panels: Panels, isa: InstructionSet) -> int:
    """What one product reads: weights, column numbers of two bytes, and fixed shares of time as bytes."""
    least = 0 if is_far(panels.weights, isa) else COLUMN_BYTES.get(isa.lanes, 0)
    fixed = panels.count * PANEL_BYTES + panels.scatter_bytes
    return len(panels.columns) * (max(4 * panels.rows, least) + 2) + fixed


def is_far(weights: np.ndarray, isa: InstructionSet) -> bool:
    """Whether weights come from beyond the level-2 cache: all there is to wait for."""
    return weights.nbytes > 1.5 * level_two_cache_bytes(isa)


def padded(columns: np.ndarray) -> np.ndarray:
    """Column offsets as the kernels take them: int32, with entries behind the end for the prefetch to read."""
    tail = np.full(PREFETCH_COLUMNS, columns[-1] if len(columns) else 0)
    return np.concatenate([columns, tail]).astype(np.int32)


def with_room(weights: np.ndarray, schedule: Schedule, lanes: int) -> np.ndarray:
    """Weights as the kernels take them; those with rows as lanes read whole vectors, the last one past the end."""
    if not schedule.left:
        return weights
    return np.concatenate([weights.ravel(), np.zeros(-weights.shape[1] % lanes, weights.dtype)])
