"""C text of the panel kernels: rows that share one list of columns, times many lanes.

    y[rows[i]] = epilogue(bias[i] + sum over j of weights[j][i] * x[columns[j] ...])      i < ROWS, lanes in vectors

`columns` holds byte offsets into the planes of x, so that a pruned matrix, a convolution's taps and a dense matrix
are all the same list. Each input vector is loaded once and used by every row of the panel (GRIM's load redundancy
elimination, arXiv 2108.11033). Columns further on are prefetched because gathered rows defeat the hardware prefetcher.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import Epilogue, PanelKernel

PREFETCH_COLUMNS = 8


def panel_function(kernel: PanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    tiles = "\n".join(_tile(kernel, vectors) for vectors in range(1, kernel.vectors + 1))
    return tiles + _driver(kernel)


def _cells(kernel: PanelKernel, vectors: int) -> list[tuple[int, int]]:
    return [(row, vector) for row in range(kernel.rows) for vector in range(vectors)]


def _tile(kernel: PanelKernel, vectors: int) -> str:
    start = "load(y + rows[{0}] + {1} * LANES)" if kernel.accumulate else "splat(bias[{0}])"
    lines = [f"    vector a{r}_{v} = {start.format(r, v)};" for r, v in _cells(kernel, vectors)]
    lines += [
        "    for (int j = 0; j < count; j++) {",
        "        const float *p = (const float *)(x + columns[j]);",
        f"        const char *ahead = x + columns[j + {PREFETCH_COLUMNS}];",
        f"        for (int byte = 0; byte < {vectors} * VECTOR_BYTES; byte += 64) __builtin_prefetch(ahead + byte);",
        *(f"        vector x{v} = load(p + {v} * LANES);" for v in range(vectors)),
    ]
    for row in range(kernel.rows):
        lines.append(f"        {{ float w = weights[{row}];")
        lines += [f"        a{row}_{v} += w * x{v};" for v in range(vectors)]
        lines.append("        }")
    lines += [f"        weights += {kernel.rows};", "    }"]
    lines += [_store(kernel, r, v) for r, v in _cells(kernel, vectors)]
    return f"static void {_tile_name(kernel, vectors)}({_TILE_ARGUMENTS}) {{\n" + "\n".join(lines) + "\n}\n"


_TILE_ARGUMENTS = (
    "const char *x, const int32_t *columns, int count, const float *weights, const float *bias, float *y, "
    "const int32_t *rows, const int32_t *mask, const float *residual"
)


def _tile_name(kernel: PanelKernel, vectors: int) -> str:
    return f"{kernel.name}_tile_{vectors}"


def _store(kernel: PanelKernel, row: int, vector: int) -> str:
    if kernel.accumulate:
        return f"    store(y + rows[{row}] + {vector} * LANES, a{row}_{vector});"
    value = finished(kernel.epilogue, f"a{row}_{vector}", f"residual + rows[{row}] + {vector} * LANES")
    return f"    store_masked(y + rows[{row}] + {vector} * LANES, {value}, mask + {vector} * LANES);"


def finished(epilogue: Epilogue, value: str, residual: str) -> str:
    """C expression of a sum after its epilogue."""
    if epilogue.residual:
        value = f"({value} + load({residual}))"
    return activation_call(epilogue.activation, value)


def _driver(kernel: PanelKernel) -> str:
    """Lane chunks outside, so that the part of x in use stays in the level-2 cache; then panels; then tiles.

    Workers share out lanes or panels; panels that accumulate may write the same rows, so those only share out lanes.
    """
    cases = "\n".join(
        f"                case {v}: {_tile_name(kernel, v)}(x + t * VECTOR_BYTES, columns + start, end - start, "
        f"weights + (size_t)start * {kernel.rows}, bias + panel * {kernel.rows}, y + t * LANES, "
        f"rows + panel * {kernel.rows}, mask + t * LANES, residual + t * LANES); break;"
        for v in range(1, kernel.vectors + 1)
    )
    return f"""
static void {kernel.name}(worker w, const int32_t *columns, const int32_t *column_start, const float *weights,
                          const float *bias, const int32_t *rows, const int32_t *mask, int panels, int vectors,
                          int chunk, int by_lanes, const char *x, float *y, const float *residual) {{
    range lanes = share(by_lanes ? w : ALONE, vectors);
    range own = share_panels(by_lanes ? ALONE : w, column_start, panels);
    for (int from = lanes.from; from < lanes.to; from += chunk) {{
        int to = from + chunk < lanes.to ? from + chunk : lanes.to;
        for (int panel = own.from; panel < own.to; panel++) {{
            int start = column_start[panel], end = column_start[panel + 1];
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
