"""Rows in an order in which neighbours keep similar columns: GRIM's matrix reorder (arXiv 2108.11033).

Panels compute a few neighbouring rows on the union of their columns, so a union that is hardly larger than its rows
wastes nothing. Outputs are written through row numbers: any order costs the same.
"""

import numpy as np

MOST_ROWS = 16  # of the clusters; wider panels take several of them
MOST_COMPARED = 1024  # rows compared with each other; what is compared grows with the square
PADDED_ENOUGH = 1.02  # weights in panels a kept weight at which another order is not worth a look


def similar_rows(kept: np.ndarray, groups: int = 1) -> np.ndarray:
    """An order of the rows of `kept`, bool `[M, K]`, for panels of 2, 4, 8 or 16 rows; rows stay in their group.

    Rows of equal columns come together, wherever they are. Then rows are paired with the rows most like them, pairs
    with pairs, and so on, so that one order serves all panels. Rows that share their columns with their neighbours
    already stay as they are. Of very many rows only those near each other are compared.
    """
    per_group = len(kept) // groups
    return np.concatenate(
        [_order(kept[start : start + per_group]) + start for start in range(0, len(kept), per_group)]
    )


def _order(kept: np.ndarray) -> np.ndarray:
    if _neighbours_share(kept):
        return np.arange(len(kept))
    order = _equal_together(kept)
    parts = [order[first : first + MOST_COMPARED] for first in range(0, len(order), MOST_COMPARED)]
    return np.concatenate([part[_paired(kept[part])] for part in parts])


def _neighbours_share(kept: np.ndarray) -> bool:
    return _padded(kept, MOST_ROWS) <= PADDED_ENOUGH * int(np.count_nonzero(kept))


def _equal_together(kept: np.ndarray) -> np.ndarray:
    """Rows of equal columns side by side, in the order in which they first appear."""
    _, first, number = np.unique(np.packbits(kept, axis=1), axis=0, return_index=True, return_inverse=True)
    return np.argsort(first[number.ravel()], kind="stable")


def _paired(kept: np.ndarray) -> np.ndarray:
    if _neighbours_share(kept):
        return np.arange(len(kept))
    clusters, unions = [np.array([row]) for row in range(len(kept))], kept.astype(np.float32)
    alone: list[np.ndarray] = []
    while len(clusters) > 1 and len(clusters[0]) < MOST_ROWS:
        pairs, single = _pairs(unions)
        if single is not None:
            alone.insert(0, clusters[single])
        clusters = [np.concatenate([clusters[one], clusters[other]]) for one, other in pairs]
        unions = np.maximum(unions[[one for one, _ in pairs]], unions[[other for _, other in pairs]])
    return np.concatenate(clusters + alone)


def _padded(kept: np.ndarray, rows: int) -> int:
    """Weights in panels of so many rows, zeros included."""
    return rows * int(np.logical_or.reduceat(kept, np.arange(0, len(kept), rows), axis=0).sum())


def _pairs(unions: np.ndarray) -> tuple[list[tuple[int, int]], int | None]:
    """Column sets, the largest first, each with the one left that it shares the largest part of the union with."""
    common = unions @ unions.T
    sizes = common.diagonal()
    likeness = common / np.maximum(sizes[:, None] + sizes - common, 1)
    np.fill_diagonal(likeness, -1)
    free = np.ones(len(unions), bool)
    pairs: list[tuple[int, int]] = []
    for one in np.argsort(-sizes, kind="stable"):
        if not free[one]:
            continue
        free[one] = False
        if not free.any():
            return pairs, int(one)
        other = int(np.where(free, likeness[one], -2).argmax())
        free[other] = False
        pairs.append((int(one), other))
    return pairs, None
