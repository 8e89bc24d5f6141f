"""C text that the panel kernels on words share, two channels of bfloat16 to a word or four of bytes.

    sums[i] = start[i] + sum over j of dot(weights[j][i], x[columns[j] ...])       i < ROWS

The walk of the float panel kernel (`panel.py`): `columns` are byte offsets of words, `weights` are words. The epilogue
turns the rows of one word of the output's planes at a time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from spokeshave.compiler.kernels.amx import TileText, amx_function
from spokeshave.compiler.kernels.instances import BFloat16PanelKernel, IntegerPanelKernel
from spokeshave.compiler.kernels.panel import (
    begin_left,
    cells,
    end_left,
    every_tile,
    lane_loops,
    sums,
    tile_function,
    use_words,
)

WordPanelKernel = BFloat16PanelKernel | IntegerPanelKernel


@dataclass(frozen=True)
class WordPanelText:
    """What the kernels of one element type have of their own.

    `dot` is what the macros of products are named after. `sums` is the C type of accumulators, `splat` the function
    that fills one. `by_row` are arrays with a number a row, their types in front, sums beginning with the first's;
    `whole` are arguments of the whole layer. `store(kernel, row, vector)` is C that stores the word that begins there.
    """

    dot: str
    sums: str
    splat: str
    by_row: Mapping[str, str]
    whole: Mapping[str, str]
    store: Callable[[Any, int, int], str]

    @property
    def start(self) -> str:
        """The array that sums begin with."""
        return next(iter(self.by_row))


def word_panel_function(kernel: WordPanelKernel, text: WordPanelText) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    if kernel.amx:
        return amx_function(kernel.name, kernel.rows, kernel.vectors, _tile_text(kernel, text))
    return every_tile(kernel, lambda one, vectors, left: _tile(one, vectors, left, text)) + _driver(
        kernel, text
    )


def _tile(kernel: WordPanelKernel, vectors: int, left: int, text: WordPanelText) -> str:
    rows = range(0, kernel.rows, kernel.unit)
    unused = "".join(f", (void){name}" for name in text.whole)
    lines = [
        *_sums(kernel.rows, vectors, left, text),
        *(text.store(kernel, row, v) for row in rows for v in range(vectors + (left > 0))),
        f"    (void)residual, (void)residual_rows{unused};",
    ]
    arguments = (
        *("const char *x", "const int32_t *columns", "int count", "const int32_t *weights"),
        *_declared(text.by_row),
        *("int32_t *y", "const int32_t *rows", "const int32_t *mask", "const int32_t *residual"),
        *("const int32_t *residual_rows", *_declared(text.whole)),
    )
    return tile_function(kernel, vectors, left, ", ".join(arguments), lines)


def _sums(rows: int, vectors: int, left: int, text: WordPanelText) -> list[str]:
    return [
        *sums(cells(rows, vectors), f"{text.splat}({text.start}[{{0}}])", text.sums),
        *begin_left(left, rows, text.start, text.sums),
        "    for (int j = 0; j < count; j++) {",
        *use_words(rows, vectors, f"DOT_{text.dot}", left),
        "    }",
        *end_left(left, rows, vectors, text.splat, text.sums),
    ]


def _tile_text(kernel: WordPanelKernel, text: WordPanelText) -> TileText:
    unit = max(kernel.unit, kernel.residual_unit)
    return TileText(
        f"TILE_DOT_{text.dot}",
        f"{_driver_arguments(text)}, const int32_t *strides",
        by_row={
            **dict.fromkeys(_declared(text.by_row), 1),
            "const int32_t *rows": kernel.unit,
            "const int32_t *residual_rows": kernel.residual_unit,
        },
        by_lane=("int32_t *y", "const int32_t *mask", "const int32_t *residual"),
        whole=_declared(text.whole),
        unit=unit,
        value=f"{text.sums} a{{0}}_{{1}} = ({text.sums})load_words({{2}}) + {text.splat}({text.start}[{{0}}]);",
        stores=lambda vector: [text.store(kernel, row, vector) for row in range(0, unit, kernel.unit)],
    )


def _declared(arguments: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{kind}{name}" for name, kind in arguments.items())


def _driver_arguments(text: WordPanelText, left_changes: bool = False) -> str:
    arguments = (
        *("const int32_t *columns", "const int32_t *column_start", "const int32_t *weights"),
        *_declared(text.by_row),
        *("const int32_t *rows", "const int32_t *residual_rows", "const int32_t *mask", "int panels"),
        *("int vectors", "int chunk", "int by_lanes", *["int left"] * left_changes, "const char *x"),
        *("int32_t *y", "const int32_t *residual", *_declared(text.whole)),
    )
    return ", ".join(arguments)


def _driver(kernel: WordPanelKernel, text: WordPanelText) -> str:
    arguments = (
        *("x + t * VECTOR_BYTES", "columns + column_start[panel]"),
        *("column_start[panel + 1] - column_start[panel]",),
        *(f"weights + (size_t)column_start[panel] * {kernel.rows}",),
        *(f"{name} + panel * {kernel.rows}" for name in text.by_row),
        *("y + t * LANES", f"rows + panel * {kernel.rows // kernel.unit}", "mask + t * LANES"),
        *(
            "residual + t * LANES",
            f"residual_rows + panel * {kernel.rows // kernel.residual_unit}",
            *text.whole,
        ),
    )
    call = f"{kernel.name}_tile_{{0}}({', '.join(arguments)})"
    return f"""
static void {kernel.name}(worker w, {_driver_arguments(text, kernel.changes)}) {{
{lane_loops(kernel, call)}}}
"""
