"""C text of the panel kernels: rows that share one list of columns, times many lanes.

    y[rows[i]] = epilogue(bias[i] + sum over j of weights[j][i] * x[columns[j] ...])      i < ROWS, lanes in vectors

`columns` holds byte offsets into the planes of x, so that a pruned matrix, a convolution's taps and a dense matrix
are all the same list. Each input vector is loaded once and used by every row of the panel (GRIM's load redundancy
elimination, arXiv 2108.11033). Columns further on are prefetched because gathered rows defeat the hardware prefetcher,
and weights a page further on because it stops where a page ends.
"""

from collections.abc import Sequence

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import Epilogue, PanelKernel

PREFETCH_COLUMNS = 8
WEIGHTS_AHEAD = 4096  # bytes; twice as many are as fast, none up to 1.6 times slower on 7 x 7 maps


def panel_function(kernel: PanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    tiles = "\n".join(_tile(kernel, vectors) for vectors in range(1, kernel.vectors + 1))
    return tiles + _driver(kernel)


Cells = list[tuple[int, int]]


def cells(rows: int, vectors: int) -> Cells:
    """Row and vector of each accumulator."""
    return [(row, vector) for row in range(rows) for vector in range(vectors)]


def sums(tile: Cells, start: str, kind: str = "vector") -> list[str]:
    """The accumulators of a C type; `start` is a C expression with {0} for the row and {1} for the vector."""
    return [f"    {kind} a{r}_{v} = {start.format(r, v)};" for r, v in tile]


def use_column(rows: Sequence[int], vectors: int) -> list[str]:
    """Column j of x, loaded once, added to rows that have the next weights; columns further on are asked for."""
    lines = [
        *column("float", vectors),
        *(f"        vector x{v} = load(p + {v} * LANES);" for v in range(vectors)),
    ]
    for index, row in enumerate(rows):
        lines.append(f"        {{ float w = weights[{index}];")
        lines += [f"        a{row}_{v} += w * x{v};" for v in range(vectors)]
        lines.append("        }")
    return [*lines, f"        weights += {len(rows)};"]


def use_words(rows: int, vectors: int, dot: str) -> list[str]:
    """The same of column j of words; the macro `dot` multiplies them with words of weights and adds."""
    lines = [
        *column("int32_t", vectors),
        *(f"        lanes_mask x{v} = load_words(p + {v} * LANES);" for v in range(vectors)),
    ]
    for row in range(rows):
        lines.append(f"        {{ lanes_mask w = splat_word(weights[{row}]);")
        lines += [f"        {dot}(a{row}_{v}, x{v}, w);" for v in range(vectors)]
        lines.append("        }")
    return [*lines, f"        weights += {rows};"]


def column(element: str, vectors: int) -> list[str]:
    """Where column j lies; columns and weights further on are asked for."""
    return [
        f"        const {element} *p = (const {element} *)(x + columns[j]);",
        f"        const char *ahead = x + columns[j + {PREFETCH_COLUMNS}];",
        f"        for (int byte = 0; byte < {vectors} * VECTOR_BYTES; byte += 64) __builtin_prefetch(ahead + byte);",
        f"        __builtin_prefetch((const char *)weights + {WEIGHTS_AHEAD});",
    ]


def stores(epilogue: Epilogue, tile: Cells) -> list[str]:
    """Every sum after its epilogue into the row that its panel says."""
    lines = []
    for row, vector in tile:
        at = f"rows[{row}] + {vector} * LANES"
        value = finished(epilogue, f"a{row}_{vector}", f"residual + {at}")
        lines.append(f"    store_masked(y + {at}, {value}, mask + {vector} * LANES);")
    return lines


def finished(epilogue: Epilogue, value: str, residual: str) -> str:
    """C expression of a sum after its epilogue."""
    if epilogue.residual:
        value = f"({value} + load({residual}))"
    return activation_call(epilogue.activation, value)


def lane_loops(call: str, most: int, work: str, amx: bool = False) -> str:
    """Lane chunks outside, so that the part of x in use stays in the level-2 cache; then panels; then tiles.

    `call` is the tile's call with {0} for its vectors, `most` of them at the most. Workers share out lanes, or panels
    by their share of `work` (a C array, panels + 1 sums); panels that accumulate may write the same rows, so those only
    share out lanes.
    """
    cases = "\n".join(f"                case {v}: {call.format(v)}; break;" for v in range(1, most + 1))
    begin, end = ("    begin_tiles();\n", "    end_tiles();\n") if amx else ("", "")
    return f"""    range lanes = share(by_lanes ? w : ALONE, vectors);
    range own = share_panels(by_lanes ? ALONE : w, {work}, panels);
{begin}    for (int from = lanes.from; from < lanes.to; from += chunk) {{
        int to = from + chunk < lanes.to ? from + chunk : lanes.to;
        for (int panel = own.from; panel < own.to; panel++) {{
            for (ptrdiff_t t = from; t < to;) {{
                int tiles = ((int)(to - t) + {most - 1}) / {most};
                int width = ((int)(to - t) + tiles - 1) / tiles;
                switch (width) {{
{cases}
                }}
                t += width;
            }}
        }}
    }}
{end}"""


_TILE_ARGUMENTS = (
    "const char *x, const int32_t *columns, int count, const float *weights, const float *bias, float *y, "
    "const int32_t *rows, const int32_t *mask, const float *residual"
)


def _tile(kernel: PanelKernel, vectors: int) -> str:
    tile = cells(kernel.rows, vectors)
    start = "load(y + rows[{0}] + {1} * LANES)" if kernel.accumulate else "splat(bias[{0}])"
    raw = [f"    store(y + rows[{r}] + {v} * LANES, a{r}_{v});" for r, v in tile]
    lines = [
        *sums(tile, start),
        "    for (int j = 0; j < count; j++) {",
        *use_column(range(kernel.rows), vectors),
        "    }",
        *(raw if kernel.accumulate else stores(kernel.epilogue, tile)),
    ]
    return f"static void {kernel.name}_tile_{vectors}({_TILE_ARGUMENTS}) {{\n" + "\n".join(lines) + "\n}\n"


def _driver(kernel: PanelKernel) -> str:
    call = (
        f"{kernel.name}_tile_{{0}}(x + t * VECTOR_BYTES, columns + column_start[panel], "
        f"column_start[panel + 1] - column_start[panel], weights + (size_t)column_start[panel] * {kernel.rows}, "
        f"bias + panel * {kernel.rows}, y + t * LANES, rows + panel * {kernel.rows}, mask + t * LANES, "
        "residual + t * LANES)"
    )
    return f"""
static void {kernel.name}(worker w, const int32_t *columns, const int32_t *column_start, const float *weights,
                          const float *bias, const int32_t *rows, const int32_t *mask, int panels, int vectors,
                          int chunk, int by_lanes, const char *x, float *y, const float *residual) {{
{lane_loops(call, kernel.vectors, "column_start")}}}
"""
