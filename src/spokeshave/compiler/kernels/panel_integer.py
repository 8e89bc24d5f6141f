"""C text of the integer panel kernels: rows that share one list of channel quads, times many lanes.

    sums[i] = start[i] + sum over j of dot4(weights[j][i], x[columns[j] ...])       int32, i < ROWS

The same walk as the float panel kernel (`panel.py`), with four channels to a word: `columns` are byte offsets of words,
`weights` are words of four int8. The epilogue turns four rows at a time into the words of the output's planes.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.amx import TileText, amx_function
from spokeshave.compiler.kernels.instances import IntegerPanelKernel
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


def integer_panel_function(kernel: IntegerPanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    if kernel.amx:
        return amx_function(kernel.name, kernel.rows, kernel.vectors, _tile_text(kernel))
    return every_tile(kernel, _tile) + _driver(kernel)


_TILE_ARGUMENTS = (
    "const char *x, const int32_t *columns, int count, const int32_t *weights, const int32_t *start, "
    "const float *scale, const float *shift, int32_t *y, const int32_t *rows, const int32_t *mask, "
    "const int32_t *residual, const int32_t *residual_rows, requantization q"
)


def _tile(kernel: IntegerPanelKernel, vectors: int, left: int) -> str:
    rows = range(0, kernel.rows, kernel.unit)
    lines = [
        *_sums(kernel.rows, vectors, left),
        *(_store(kernel, row, v) for row in rows for v in range(vectors + (left > 0))),
        "    (void)residual, (void)residual_rows, (void)q;",
    ]
    return tile_function(kernel, vectors, left, _TILE_ARGUMENTS, lines)


def _tile_text(kernel: IntegerPanelKernel) -> TileText:
    unit = max(kernel.unit, _residual_unit(kernel))
    return TileText(
        "TILE_DOT_WORDS",
        f"{_DRIVER_ARGUMENTS.format('')}, const int32_t *strides",
        by_row={
            "const int32_t *start": 1,
            "const float *scale": 1,
            "const float *shift": 1,
            "const int32_t *rows": kernel.unit,
            "const int32_t *residual_rows": _residual_unit(kernel),
        },
        by_lane=("int32_t *y", "const int32_t *mask", "const int32_t *residual"),
        whole=("requantization q",),
        unit=unit,
        value="lanes_mask a{0}_{1} = load_words({2}) + splat_word(start[{0}]);",
        stores=lambda vector: [_store(kernel, row, vector) for row in range(0, unit, kernel.unit)],
    )


def _residual_unit(kernel: IntegerPanelKernel) -> int:
    """Rows that make one word of the residual."""
    return 4 if kernel.residual == "uint8" else 1


def _sums(rows: int, vectors: int, left: int) -> list[str]:
    loop = ["    for (int j = 0; j < count; j++) {", *use_words(rows, vectors, "DOT_WORDS", left), "    }"]
    lines = [
        *sums(cells(rows, vectors), "splat_word(start[{0}])", "lanes_mask"),
        *begin_left(left, rows, "start", "lanes_mask"),
        *loop,
    ]
    return [*lines, *end_left(left, rows, vectors, "splat_word", "lanes_mask")]


def _value(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    """C expression of one row's value after residual and activation; `word` is the residual's word."""
    sums = f"__builtin_convertvector(a{row}_{vector}, vector)"
    value = f"fused_multiply_add({sums}, splat(scale[{row}]), splat(shift[{row}]))"
    if kernel.residual is not None:
        integer = kernel.residual == "uint8"
        there = f"residual + residual_rows[{row // 4 if integer else row}] + {vector} * LANES"
        read = f"byte_of(load_words({there}), {row % 4})" if integer else f"(vector)load_words({there})"
        value = f"fused_multiply_add({read}, splat(q.residual_scale), {value})"
    value = activation_call(kernel.activation, value)
    return f"in_output_units({value}, q)" if kernel.integer_output and kernel.activation else value


def _store(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    return (_store_words if kernel.integer_output else _store_floats)(kernel, row, vector)


def _store_floats(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    there, lanes = f"(float *)y + rows[{row}]", f"{vector} * LANES"
    return f"    store_masked({there} + {lanes}, {_value(kernel, row, vector)}, mask + {lanes});"


def _store_words(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    """Four rows are the bytes of one word."""
    values = ", ".join(_value(kernel, row + i, vector) for i in range(4))
    lanes = f"{vector} * LANES"
    return f"    store_word(y + rows[{row // 4}] + {lanes}, levels_word({values}, q), mask + {lanes}, q.gap);"


_DRIVER_ARGUMENTS = (
    "const int32_t *columns, const int32_t *column_start, const int32_t *weights, const int32_t *start, "
    "const float *scale, const float *shift, const int32_t *rows, const int32_t *residual_rows, const int32_t *mask, "
    "int panels, int vectors, int chunk, int by_lanes,{0} const char *x, int32_t *y, const int32_t *residual, "
    "requantization q"
)


def _driver(kernel: IntegerPanelKernel) -> str:
    call = (
        f"{kernel.name}_tile_{{0}}(x + t * VECTOR_BYTES, columns + column_start[panel], "
        f"column_start[panel + 1] - column_start[panel], weights + (size_t)column_start[panel] * {kernel.rows}, "
        f"start + panel * {kernel.rows}, scale + panel * {kernel.rows}, shift + panel * {kernel.rows}, y + t * LANES, "
        f"rows + panel * {kernel.rows // kernel.unit}, mask + t * LANES, residual + t * LANES, "
        f"residual_rows + panel * {kernel.rows // _residual_unit(kernel)}, q)"
    )
    return f"""
static void {kernel.name}(worker w, {_DRIVER_ARGUMENTS.format(left_argument(kernel))}) {{
{lane_loops(kernel, call)}}}
"""
