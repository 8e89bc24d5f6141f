"""C text of the subset kernels: a few rows that keep different columns, times many lanes.

A column of a panel is used by some of its rows: a subset, one of 2^ROWS - 1. Columns come subset by subset, each with
a loop of its own, so an input vector is loaded once for all rows that use it, and no zero is ever multiplied with. That
is what scattered weights need (unstructured, N:M, density-adaptive segments, patterns of single filters): there the
loads cost more than the multiply-adds.
"""

from dataclasses import dataclass

import numpy as np

from spokeshave.compiler.kernels.instances import SubsetKernel
from spokeshave.compiler.kernels.packing import Panels
from spokeshave.compiler.kernels.panel import cells, choices, lane_loops, stores, sums, use_column


@dataclass(frozen=True)
class SubsetPanels:
    """Panels whose columns come subset by subset, with the weights of the subset's rows only.

    `columns`, `column_start`, `row_numbers` as in `Panels`; `ends`: `[panels, subsets]`, where in the panel's columns
    each subset ends (subset s is that of the rows r with bit r of s + 1); `weights`: those kept, column by column;
    `weight_start`: panels + 1 positions in it.
    """

    columns: np.ndarray
    column_start: np.ndarray
    ends: np.ndarray
    weights: np.ndarray
    weight_start: np.ndarray
    row_numbers: np.ndarray

    @property
    def count(self) -> int:
        """Number of panels."""
        return len(self.column_start) - 1

    @classmethod
    def of(cls, panels: Panels) -> "SubsetPanels":
        """The same panels, by subsets."""
        kept = panels.weights != 0
        panel = np.repeat(np.arange(panels.count), np.diff(panels.column_start))
        place = (panel << panels.rows) + kept @ (1 << np.arange(panels.rows))
        order = np.argsort(place, kind="stable")
        counts = np.bincount(place, minlength=panels.count << panels.rows).reshape(panels.count, -1)
        kept_before = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        return cls(
            panels.columns[order],
            panels.column_start,
            np.cumsum(counts[:, 1:], axis=1).astype(np.int32),
            panels.weights[order][kept[order]],
            kept_before[panels.column_start].astype(np.int32),
            panels.row_numbers,
        )


def subset_function(kernel: SubsetKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    tiles = "\n".join(_tile(kernel, vectors) for vectors in range(1, kernel.vectors + 1))
    return tiles + _driver(kernel)


_MASKS = "const int32_t *which, const int32_t *masks, "  # of each column where its mask begins, and the masks

_TILE_ARGUMENTS = (
    "const char *x, const int32_t *columns, const int32_t *ends, const float *weights, const float *bias, float *y, "
    "const int32_t *rows, const int32_t *mask, const float *residual"
)


def _tile(kernel: SubsetKernel, vectors: int) -> str:
    lines = [*sums(cells(kernel.rows, vectors), "splat(bias[{0}])"), "    int j = 0;"]
    for subset in range(kernel.subsets):
        rows = [row for row in range(kernel.rows) if (subset + 1) >> row & 1]
        column = [*_choices(kernel, vectors), *use_column(rows, vectors, choose=kernel.masked)]
        lines += [f"    for (int end = ends[{subset}]; j < end; j++) {{", *column, "    }"]
    lines += stores(kernel.epilogue, cells(kernel.rows, vectors))
    arguments = _MASKS * kernel.masked + _TILE_ARGUMENTS
    return f"static void {kernel.name}_tile_{vectors}({arguments}) {{\n" + "\n".join(lines) + "\n}\n"


def _choices(kernel: SubsetKernel, vectors: int) -> list[str]:
    if not kernel.masked:
        return []
    return ["        const int32_t *inside = masks + which[j];", *choices(vectors)]


def _driver(kernel: SubsetKernel) -> str:
    masks = "which + column_start[panel], masks + t * LANES, " * kernel.masked
    call = (
        f"{kernel.name}_tile_{{0}}({masks}x + t * VECTOR_BYTES, columns + column_start[panel], "
        f"ends + panel * {kernel.subsets}, weights + weight_start[panel], bias + panel * {kernel.rows}, y + t * LANES, "
        f"rows + panel * {kernel.rows}, mask + t * LANES, residual + t * LANES)"
    )
    return f"""
static void {kernel.name}(worker w, {_MASKS * kernel.masked}const int32_t *columns, const int32_t *column_start,
                          const int32_t *ends, const float *weights, const int32_t *weight_start, const float *bias,
                          const int32_t *rows, const int32_t *mask, int panels, int vectors, int chunk, int by_lanes,
                          const char *x, float *y, const float *residual) {{
{lane_loops(kernel, call, "weight_start")}}}
"""
