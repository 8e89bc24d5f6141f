"""C text of the bfloat16 panel kernels: rows that share one list of channel pairs, times many lanes.

    sums[i] = bias[i] + sum over j of dot2(weights[j][i], x[columns[j] ...])       float32, i < ROWS

The walk of the float panel kernel (`panel.py`), with two channels to a word. The epilogue rounds two rows at a time
into the words of the output's planes.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.amx import TileText, amx_function
from spokeshave.compiler.kernels.instances import BFloat16PanelKernel
from spokeshave.compiler.kernels.panel import (
    begin_left,
    cells,
    end_left,
    every_tile,
    lane_loops,
    left_argument,
    sums,
    tile_function,
    use_words,
)


def bfloat16_panel_function(kernel: BFloat16PanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    if kernel.amx:
        return amx_function(kernel.name, kernel.rows, kernel.vectors, _tile_text(kernel))
    return every_tile(kernel, _tile) + _driver(kernel)


_TILE_ARGUMENTS = (
    "const char *x, const int32_t *columns, int count, const int32_t *weights, const float *bias, int32_t *y, "
    "const int32_t *rows, const int32_t *mask, const int32_t *residual, const int32_t *residual_rows"
)


def _tile(kernel: BFloat16PanelKernel, vectors: int, left: int) -> str:
    rows = range(0, kernel.rows, kernel.unit)
    lines = [
        *_sums(kernel.rows, vectors, left),
        *(_store(kernel, row, v) for row in rows for v in range(vectors + (left > 0))),
        "    (void)residual, (void)residual_rows;",
    ]
    return tile_function(kernel, vectors, left, _TILE_ARGUMENTS, lines)


def _tile_text(kernel: BFloat16PanelKernel) -> TileText:
    unit = max(kernel.unit, _residual_unit(kernel))
    return TileText(
        "TILE_DOT_PAIRS",
        f"{_DRIVER_ARGUMENTS.format('')}, const int32_t *strides",
        by_row={
            "const float *bias": 1,
            "const int32_t *rows": kernel.unit,
            "const int32_t *residual_rows": _residual_unit(kernel),
        },
        by_lane=("int32_t *y", "const int32_t *mask", "const int32_t *residual"),
        whole=(),
        unit=unit,
        value="vector a{0}_{1} = (vector)load_words({2}) + splat(bias[{0}]);",
        stores=lambda vector: [_store(kernel, row, vector) for row in range(0, unit, kernel.unit)],
    )


def _residual_unit(kernel: BFloat16PanelKernel) -> int:
    """Rows that make one word of the residual."""
    return 2 if kernel.residual == "bfloat16" else 1


def _sums(rows: int, vectors: int, left: int) -> list[str]:
    loop = ["    for (int j = 0; j < count; j++) {", *use_words(rows, vectors, "DOT_PAIRS", left), "    }"]
    lines = [
        *sums(cells(rows, vectors), "splat(bias[{0}])"),
        *begin_left(left, rows, "bias"),
        *loop,
    ]
    return [*lines, *end_left(left, rows, vectors)]


def _value(kernel: BFloat16PanelKernel, row: int, vector: int) -> str:
    """C expression of one row's value after residual and activation."""
    value, lanes = f"a{row}_{vector}", f"{vector} * LANES"
    if kernel.residual == "bfloat16":
        half = "upper_half" if row % 2 else "lower_half"
        value = f"({value} + {half}(load_words(residual + residual_rows[{row // 2}] + {lanes})))"
    elif kernel.residual == "float32":
        value = f"({value} + (vector)load_words(residual + residual_rows[{row}] + {lanes}))"
    return activation_call(kernel.activation, value)


def _store(kernel: BFloat16PanelKernel, row: int, vector: int) -> str:
    return (_store_pair if kernel.rounded_output else _store_floats)(kernel, row, vector)


def _store_floats(kernel: BFloat16PanelKernel, row: int, vector: int) -> str:
    lanes = f"{vector} * LANES"
    return f"    store_masked((float *)y + rows[{row}] + {lanes}, {_value(kernel, row, vector)}, mask + {lanes});"


def _store_pair(kernel: BFloat16PanelKernel, row: int, vector: int) -> str:
    pair, lanes = ", ".join(_value(kernel, row + i, vector) for i in range(2)), f"{vector} * LANES"
    return f"    store_word(y + rows[{row // 2}] + {lanes}, pair_of({pair}), mask + {lanes}, 0);"


_DRIVER_ARGUMENTS = (
    "const int32_t *columns, const int32_t *column_start, const int32_t *weights, const float *bias, "
    "const int32_t *rows, const int32_t *residual_rows, const int32_t *mask, int panels, int vectors, int chunk, "
    "int by_lanes,{0} const char *x, int32_t *y, const int32_t *residual"
)


def _driver(kernel: BFloat16PanelKernel) -> str:
    call = (
        f"{kernel.name}_tile_{{0}}(x + t * VECTOR_BYTES, columns + column_start[panel], "
        f"column_start[panel + 1] - column_start[panel], weights + (size_t)column_start[panel] * {kernel.rows}, "
        f"bias + panel * {kernel.rows}, y + t * LANES, rows + panel * {kernel.rows // kernel.unit}, mask + t * LANES, "
        f"residual + t * LANES, residual_rows + panel * {kernel.rows // _residual_unit(kernel)})"
    )
    return f"""
static void {kernel.name}(worker w, {_DRIVER_ARGUMENTS.format(left_argument(kernel))}) {{
{lane_loops(kernel, call)}}}
"""
