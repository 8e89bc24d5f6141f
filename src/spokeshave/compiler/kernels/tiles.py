"""Panels of words as AMX takes them: whole tiles of columns, and which of these lie equally far apart."""

from dataclasses import dataclass, replace

import numpy as np

from spokeshave.compiler.kernels.amx import TILE
from spokeshave.compiler.kernels.packing import Panels


@dataclass(frozen=True)
class TilePanels:
    """Panels whose columns come in whole tiles.

    Weights of `panels` are `[tiles of columns, tiles of rows, rows, columns]` of 16 x 16 words, flat. `strides` has,
    for each tile of columns, how far apart they lie where that is the same between all of them, else 0.
    """

    panels: Panels
    strides: np.ndarray


def tile_panels(panels: Panels, offsets: np.ndarray, taps: int = 1) -> TilePanels:
    """The panels with the columns of each filled up to whole tiles by zeros.

    `offsets` are those of all columns. Columns are numbered channel by channel; a panel takes them tap by tap instead
    where more of its tiles then lie equally far apart.
    """
    order = np.concatenate([np.zeros(0, int), *_orders(panels, offsets, taps)]).astype(int)
    panels = replace(panels, columns=panels.columns[order], weights=panels.weights[order])
    panels = _filled(panels)
    strides = _strides(offsets[panels.columns].reshape(-1, TILE))
    tiles = panels.weights.reshape(-1, TILE, panels.rows // TILE, TILE).transpose(0, 2, 3, 1)
    return TilePanels(replace(panels, weights=np.ascontiguousarray(tiles).ravel()), strides)


def _orders(panels: Panels, offsets: np.ndarray, taps: int) -> list[np.ndarray]:
    orders = []
    for begin, end in zip(panels.column_start[:-1], panels.column_start[1:], strict=True):
        columns = panels.columns[begin:end]
        ways = [np.arange(len(columns)), np.argsort(columns % taps, kind="stable")]
        orders.append(begin + max(ways, key=lambda way: _in_place(offsets[columns[way]])))
    return orders


def _in_place(offsets: np.ndarray) -> int:
    """How many whole tiles of columns lie equally far apart."""
    return int(np.count_nonzero(_strides(offsets[: len(offsets) // TILE * TILE].reshape(-1, TILE))))


def _strides(offsets: np.ndarray) -> np.ndarray:
    """How far apart the offsets of each row `[tiles, 16]` lie, 0 where not equally far."""
    apart = np.diff(offsets, axis=1)
    return np.where((apart == apart[:, :1]).all(1), apart[:, 0], 0)


def _filled(panels: Panels) -> Panels:
    """The columns of each panel filled up to whole tiles, one at least, by its first one, with weights of zero."""
    lengths = np.diff(panels.column_start)
    filled = np.maximum(1, -(-lengths // TILE)) * TILE
    starts = np.concatenate([[0], np.cumsum(filled)]).astype(np.int32)
    places = np.arange(len(panels.columns)) + np.repeat(starts[:-1] - panels.column_start[:-1], lengths)
    begins = np.minimum(panels.column_start[:-1], len(panels.columns))
    first = np.append(panels.columns, 0)[begins]
    columns = np.repeat(first, filled)
    columns[places] = panels.columns
    weights = np.zeros((starts[-1], panels.rows), panels.weights.dtype)
    weights[places] = panels.weights
    return replace(panels, columns=columns, column_start=starts, weights=weights)
