"""Low-precision weights in words: four neighbouring input channels of one tap are one column of the matrix.

A word matrix has the rows of the layer and, as columns, (word of channels, tap) in the order in which a float layer
has (channel, tap), so whatever places and packs float columns places and packs words.
"""

from dataclasses import dataclass, replace

import numpy as np

from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.instances import VECTOR_ROWS
from spokeshave.compiler.kernels.packing import MOST_PIECES, PANEL_BYTES, Panels, pack_panels, row_orders
from spokeshave.compiler.layout import CHANNELS_PER_WORD

PER_WORD = CHANNELS_PER_WORD["uint8"]
# What streams by in the time in which four bytes are gathered, by lanes. Fitted to 1024 x 1024 products on Zen 5.
GATHER_BYTES = {16: 110, 8: 50, 4: 160}


def word_matrix(weight: np.ndarray, groups: int, per_word: int) -> np.ndarray:
    """The weight `[rows, channels / groups, ...]` as int32 words `[rows, words * taps]`, of `per_word` channels each.

    Convolution groups become zeros outside each row's own channels: a word may reach over two groups.
    """
    rows, per_group = weight.shape[:2]
    taps = int(np.prod(weight.shape[2:], dtype=int))
    words = -(-per_group * groups // per_word)
    spread = np.zeros((rows, words * per_word, taps), weight.dtype)
    for group in range(groups):
        members = slice(group * rows // groups, (group + 1) * rows // groups)
        spread[members, group * per_group : (group + 1) * per_group] = weight[members].reshape(
            -1, per_group, taps
        )
    in_words = spread.reshape(rows, words, per_word, taps).swapaxes(2, 3)
    return np.ascontiguousarray(in_words).view(np.int32).reshape(rows, words * taps)


def whole_words(matrix: np.ndarray, unit: int) -> np.ndarray:
    """The matrix with rows of zeros behind it that fill the last `unit` rows."""
    missing = -len(matrix) % unit
    return np.concatenate([matrix, np.zeros((missing, matrix.shape[1]), matrix.dtype)])


def pack_word_panels(matrix: np.ndarray, rows: int, unit: int, order: np.ndarray) -> Panels:
    """Pack a matrix of whole words in an order of its rows that keeps units together.

    Every panel is full: the last one repeats its rows, unit by unit.
    """
    last = len(order) - len(order) % rows
    repeated = np.resize(order[last:], rows if last < len(order) else 0)
    full = np.concatenate([order[:last], repeated])
    panels = pack_panels(matrix[full], rows)
    return replace(panels, row_numbers=full[panels.row_numbers])


@dataclass(frozen=True)
class WordVectors:
    """A matrix for integer vector kernels: `panels` of words, whose columns are words of x.

    With `gathered` there are `PER_WORD` columns for each word, single bytes of x.
    """

    panels: Panels
    gathered: bool
    lanes: int

    def streamed_bytes(self) -> int:
        """What one product reads, and each word's and panel's fixed share of time as bytes."""
        words = len(self.panels.weights)
        word = 4 * self.panels.rows + (GATHER_BYTES[self.lanes] if self.gathered else 2)
        return words * word + self.panels.count * PANEL_BYTES + self.panels.scatter_bytes


def best_word_vectors(weight: np.ndarray, isa: InstructionSet, groups: int = 1) -> WordVectors:
    """Pack an int8 matrix `[M, K]` for one or a few vectors, in words of neighbours or of any columns: fewest bytes."""
    heights = [rows for rows in VECTOR_ROWS if rows % isa.lanes == 0 and rows <= MOST_PIECES * isa.lanes]
    words = word_matrix(weight, 1, PER_WORD)
    ways = [
        WordVectors(pack_panels(words, rows, groups, order), False, isa.lanes)
        for order in row_orders(words != 0, groups)
        for rows in heights
    ]
    ways += [
        WordVectors(_gathered(pack_panels(weight, rows, groups, order)), True, isa.lanes)
        for order in row_orders(weight != 0, groups)
        for rows in heights
    ]
    return min(ways, key=WordVectors.streamed_bytes)


def _gathered(panels: Panels) -> Panels:
    """Panels of bytes as panels of words: each panel's columns in fours, the last four filled up with weights of 0."""
    counts = np.diff(panels.column_start)
    starts = np.concatenate([[0], np.cumsum(-(-counts // PER_WORD))])
    place = np.arange(len(panels.columns)) + np.repeat(
        starts[:-1] * PER_WORD - panels.column_start[:-1], counts
    )
    columns = np.zeros(starts[-1] * PER_WORD, panels.columns.dtype)
    weights = np.zeros((starts[-1] * PER_WORD, panels.rows), panels.weights.dtype)
    columns[place], weights[place] = panels.columns, panels.weights
    words = np.ascontiguousarray(weights.reshape(-1, PER_WORD, panels.rows).swapaxes(1, 2)).view(np.int32)
    return replace(
        panels,
        columns=columns,
        column_start=starts.astype(np.int32),
        weights=words.reshape(-1, panels.rows),
    )
