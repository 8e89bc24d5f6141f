"""C text of the integer panel kernels: rows that share one list of channel quads, times many lanes.

    sums[i] = start[i] + sum over j of dot4(weights[j][i], x[columns[j] ...])       int32, i < ROWS

The same walk as the float panel kernel (`panel.py`), with four channels to a word: `columns` are byte offsets of words,
`weights` are words of four int8. The epilogue turns four rows at a time into the words of the output's planes.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import IntegerPanelKernel
from spokeshave.compiler.kernels.panel import cells, sums, use_words


def integer_panel_function(kernel: IntegerPanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    tiles = "\n".join(_tile(kernel, vectors) for vectors in range(1, kernel.vectors + 1))
    return tiles + _driver(kernel)


_TILE_ARGUMENTS = (
    "const char *x, const int32_t *columns, int count, const int32_t *weights, const int32_t *start, "
    "const float *scale, const float *shift, int32_t *y, const int32_t *rows, const int32_t *mask, "
    "const int32_t *residual, const int32_t *residual_rows, requantization q"
)


def _tile(kernel: IntegerPanelKernel, vectors: int) -> str:
    lines = sums(cells(kernel.rows, vectors), "splat_word(start[{0}])", "lanes_mask")
    lines += ["    for (int j = 0; j < count; j++) {", *use_words(kernel.rows, vectors, "DOT_WORDS"), "    }"]
    store = _store_words if kernel.integer_output else _store_floats
    lines += [store(kernel, row, v) for row in range(0, kernel.rows, kernel.unit) for v in range(vectors)]
    lines += ["    (void)residual, (void)residual_rows, (void)q;"]
    return f"static void {_tile_name(kernel, vectors)}({_TILE_ARGUMENTS}) {{\n" + "\n".join(lines) + "\n}\n"


def _tile_name(kernel: IntegerPanelKernel, vectors: int) -> str:
    return f"{kernel.name}_tile_{vectors}"


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


def _store_floats(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    there, lanes = f"(float *)y + rows[{row}]", f"{vector} * LANES"
    return f"    store_masked({there} + {lanes}, {_value(kernel, row, vector)}, mask + {lanes});"


def _store_words(kernel: IntegerPanelKernel, row: int, vector: int) -> str:
    """Four rows are the bytes of one word."""
    bytes_ = ", ".join(f"requantized({_value(kernel, row + i, vector)}, q)" for i in range(4))
    lanes = f"{vector} * LANES"
    return f"    store_word(y + rows[{row // 4}] + {lanes}, word_of({bytes_}), mask + {lanes}, q.gap);"


def _driver(kernel: IntegerPanelKernel) -> str:
    """Lane chunks outside, so that the part of x in use stays in the level-2 cache; then panels; then tiles."""
    targets = kernel.rows // kernel.unit
    residuals = kernel.rows // (4 if kernel.residual == "uint8" else 1)
    cases = "\n".join(
        f"                case {v}: {_tile_name(kernel, v)}(x + t * VECTOR_BYTES, columns + first, end - first, "
        f"weights + (size_t)first * {kernel.rows}, start + panel * {kernel.rows}, scale + panel * {kernel.rows}, "
        f"shift + panel * {kernel.rows}, y + t * LANES, rows + panel * {targets}, mask + t * LANES, "
        f"residual + t * LANES, residual_rows + panel * {residuals}, q); break;"
        for v in range(1, kernel.vectors + 1)
    )
    return f"""
static void {kernel.name}(worker w, const int32_t *columns, const int32_t *column_start, const int32_t *weights,
                          const int32_t *start, const float *scale, const float *shift, const int32_t *rows,
                          const int32_t *residual_rows, const int32_t *mask, int panels, int vectors, int chunk,
                          int by_lanes, const char *x, int32_t *y, const int32_t *residual, requantization q) {{
    range lanes = share(by_lanes ? w : ALONE, vectors);
    range own = share_panels(by_lanes ? ALONE : w, column_start, panels);
    for (int from = lanes.from; from < lanes.to; from += chunk) {{
        int to = from + chunk < lanes.to ? from + chunk : lanes.to;
        for (int panel = own.from; panel < own.to; panel++) {{
            int first = column_start[panel], end = column_start[panel + 1];
            for (ptrdiff_t t = from; t < to;) {{
                int tiles = ((int)(to - t) + {kernel.vectors - 1}) / {kernel.vectors};
                int width = ((int)(to - t) + tiles - 1) / tiles;
                switch (width) {{
{cases}
                }}
                t += width;
            }}
        }}
    }}
}}
"""
