"""C text of the panel kernels: rows that share one list of columns, times many lanes.

    y[rows[i]] = epilogue(bias[i] + sum over j of weights[j][i] * x[columns[j] ...])      i < ROWS, lanes in vectors

`columns` holds byte offsets into the planes of x, so that a pruned matrix, a convolution's taps and a dense matrix
are all the same list. Each input vector is loaded once and used by every row of the panel (GRIM's load redundancy
elimination, arXiv 2108.11033). Columns further on are prefetched because gathered rows defeat the hardware prefetcher,
and weights a page further on because it stops where a page ends.
"""

from collections.abc import Callable, Sequence
from typing import Any

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import (
    BFloat16PanelKernel,
    Epilogue,
    IntegerPanelKernel,
    PanelKernel,
)

PREFETCH_COLUMNS = 8
WEIGHTS_AHEAD = 4096  # bytes; twice as many are as fast, none up to 1.6 times slower on 7 x 7 maps


WithTiles = PanelKernel | IntegerPanelKernel | BFloat16PanelKernel


def panel_function(kernel: PanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    return every_tile(kernel, _tile) + _driver(kernel)


def every_tile(kernel: WithTiles, tile: Callable[[Any, int, bool], str]) -> str:
    """The tiles of a kernel: of every width, and of these with a single lane more."""
    widths = range(1, kernel.vectors + 1)
    return "\n".join(
        tile(kernel, width, single) for single in (False, True)[: 1 + kernel.single] for width in widths
    )


def tile_name(kernel: WithTiles, vectors: int, single: bool) -> str:
    """Name of the C function of one tile."""
    return f"{kernel.name}_tile_{vectors}{'_single' * single}"


Cells = list[tuple[int, int]]


def cells(rows: int, vectors: int) -> Cells:
    """Row and vector of each accumulator."""
    return [(row, vector) for row in range(rows) for vector in range(vectors)]


def sums(tile: Cells, start: str, kind: str = "vector") -> list[str]:
    """The accumulators of a C type; `start` is a C expression with {0} for the row and {1} for the vector."""
    return [f"    {kind} a{r}_{v} = {start.format(r, v)};" for r, v in tile]


def use_column(rows: Sequence[int], vectors: int, single: bool = False) -> list[str]:
    """Column j of x, loaded once, added to rows that have the next weights; columns further on are asked for."""
    lines = [
        *column("float", vectors),
        *(_use_single(f"single[i] += load(weights + i * LANES) * p[{vectors} * LANES];") if single else []),
        *(f"        vector x{v} = load(p + {v} * LANES);" for v in range(vectors)),
    ]
    for index, row in enumerate(rows):
        lines.append(f"        {{ float w = weights[{index}];")
        lines += [f"        a{row}_{v} += w * x{v};" for v in range(vectors)]
        lines.append("        }")
    return [*lines, f"        weights += {len(rows)};"]


def use_words(rows: int, vectors: int, dot: str, single: bool = False) -> list[str]:
    """The same of column j of words; the macro `dot` multiplies them with words of weights and adds."""
    one = f"{dot}(single[i], splat_word(p[{vectors} * LANES]), load_words(weights + i * LANES));"
    lines = [
        *column("int32_t", vectors),
        *(_use_single(one) if single else []),
        *(f"        lanes_mask x{v} = load_words(p + {v} * LANES);" for v in range(vectors)),
    ]
    for row in range(rows):
        lines.append(f"        {{ lanes_mask w = splat_word(weights[{row}]);")
        lines += [f"        {dot}(a{row}_{v}, x{v}, w);" for v in range(vectors)]
        lines.append("        }")
    return [*lines, f"        weights += {rows};"]


def _use_single(add: str) -> list[str]:
    return [f"        for (int i = 0; i < SINGLE_VECTORS; i++) {add}"]


def begin_single(rows: int, start: str, kind: str = "vector") -> list[str]:
    """Sums of a single lane: there the rows are the lanes, and weights are read in whole vectors of them.

    `start` is the C array of what they begin with.
    """
    return [
        f"    enum {{ SINGLE_VECTORS = ({rows} + LANES - 1) / LANES }};",
        f"    {kind} single[SINGLE_VECTORS] = {{{{0}}}};",
        *(f"    single[{r} / LANES][{r} % LANES] = {start}[{r}];" for r in range(rows)),
    ]


def end_single(rows: int, vectors: int, splat: str = "splat", kind: str = "vector") -> list[str]:
    """The sums of the single lane as a vector more of each row, all of whose lanes hold them."""
    return [f"    {kind} a{r}_{vectors} = {splat}(single[{r} / LANES][{r} % LANES]);" for r in range(rows)]


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


def lane_loops(call: str, most: int, work: str, amx: bool = False, single: bool = False) -> str:
    """Lane chunks outside, so that the part of x in use stays in the level-2 cache; then panels; then tiles.

    `call` is the tile's call with {0} for its vectors, `most` of them at the most; the last tile takes a `single` lane
    of one vector more. Workers share out lanes, or panels
    by their share of `work` (a C array, panels + 1 sums); panels that accumulate may write the same rows, so those only
    share out lanes.
    """
    widths = range(1, most + 1)
    tiles = {v: f"{v}" for v in widths} | ({most + v: f"{v}_single" for v in widths} if single else {})
    cases = "\n".join(f"                case {at}: {call.format(tile)}; break;" for at, tile in tiles.items())
    which = f"width + (t + width == whole ? {most} : 0)" if single else "width"
    whole = "    int whole = vectors - 1;\n" if single else ""
    begin, end = ("    begin_tiles();\n", "    end_tiles();\n") if amx else ("", "")
    return f"""{whole}    range lanes = share(by_lanes ? w : ALONE, {"whole" if single else "vectors"});
    range own = share_panels(by_lanes ? ALONE : w, {work}, panels);
{begin}    for (int from = lanes.from; from < lanes.to; from += chunk) {{
        int to = from + chunk < lanes.to ? from + chunk : lanes.to;
        for (int panel = own.from; panel < own.to; panel++) {{
            for (ptrdiff_t t = from; t < to;) {{
                int tiles = ((int)(to - t) + {most - 1}) / {most};
                int width = ((int)(to - t) + tiles - 1) / tiles;
                switch ({which}) {{
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


def _tile(kernel: PanelKernel, vectors: int, single: bool) -> str:
    tile = cells(kernel.rows, vectors)
    start = "load(y + rows[{0}] + {1} * LANES)" if kernel.accumulate else "splat(bias[{0}])"
    raw = [f"    store(y + rows[{r}] + {v} * LANES, a{r}_{v});" for r, v in tile]
    lines = [
        *sums(tile, start),
        *(begin_single(kernel.rows, "bias") if single else []),
        "    for (int j = 0; j < count; j++) {",
        *use_column(range(kernel.rows), vectors, single),
        "    }",
        *(end_single(kernel.rows, vectors) if single else []),
        *(raw if kernel.accumulate else stores(kernel.epilogue, cells(kernel.rows, vectors + single))),
    ]
    return (
        f"static void {tile_name(kernel, vectors, single)}({_TILE_ARGUMENTS}) {{\n"
        + "\n".join(lines)
        + "\n}\n"
    )


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
{lane_loops(call, kernel.vectors, "column_start", single=kernel.single)}}}
"""
