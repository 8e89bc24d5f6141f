"""Low-precision weights in words: four neighbouring input channels of one tap are one column of the matrix.

A word matrix has the rows of the layer and, as columns, (word of channels, tap) in the order in which a float layer
has (channel, tap), so whatever places and packs float columns places and packs words.
"""

from dataclasses import replace

import numpy as np

from spokeshave.compiler.kernels.amx import TILE
from spokeshave.compiler.kernels.packing import Panels, pack_panels


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


def amx_panels(panels: Panels) -> Panels:
    """The same for AMX: columns of each panel filled up to whole tiles by zeros; weights tile after tile.

    Weights are `[tiles of columns, tiles of rows, rows, columns]` of 16 x 16 words, flat.
    """
    lengths = np.diff(panels.column_start)
    filled = -(-lengths // TILE) * TILE
    starts = np.concatenate([[0], np.cumsum(filled)]).astype(np.int32)
    places = np.arange(len(panels.columns)) + np.repeat(starts[:-1] - panels.column_start[:-1], lengths)
    occupied = lengths > 0
    columns = np.repeat(panels.columns[panels.column_start[:-1][occupied]], filled[occupied])
    columns[places] = panels.columns
    weights = np.zeros((starts[-1], panels.rows), panels.weights.dtype)
    weights[places] = panels.weights
    tiles = weights.reshape(-1, TILE, panels.rows // TILE, TILE).transpose(0, 2, 3, 1)
    return replace(panels, columns=columns, column_start=starts, weights=np.ascontiguousarray(tiles).ravel())


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
