"""C text of the panel kernels: rows that share one list of columns, times many lanes.

    y[rows[i]] = epilogue(bias[i] + sum over j of weights[j][i] * x[columns[j] ...])      i < ROWS, lanes in vectors

`columns` holds byte offsets into the planes of x, so that a pruned matrix, a convolution's taps and a dense matrix
are all the same list. Each input vector is loaded once and used by every row of the panel (GRIM's load redundancy
elimination, arXiv 2108.11033). Where planes have no gaps between rows, the columns of a panel come in groups, by their
shifts along the row, each with a mask that leaves out the lanes that the shift brings over from the next row. Columns
further on are prefetched because gathered rows defeat the hardware prefetcher, and weights a page further on because it
stops where a page ends.
"""

from collections.abc import Callable, Sequence
from typing import Any

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import (
    BFloat16PanelKernel,
    Epilogue,
    IntegerPanelKernel,
    PanelKernel,
    SubsetKernel,
)

PREFETCH_COLUMNS = 8
AHEAD = f"x + columns[j + {PREFETCH_COLUMNS}]"
AHEAD_IN_NEXT_TILE = "next + next_columns[j - early]"
FEW_LANES = 2  # where the number of lanes changes, so many have tiles of their own
WEIGHTS_AHEAD = 4096  # bytes; twice as many are as fast, none up to 1.6 times slower on 7 x 7 maps


WithTiles = PanelKernel | IntegerPanelKernel | BFloat16PanelKernel


def panel_function(kernel: PanelKernel) -> str:
    """C text of one driver with its register tiles: vectors, vectors - 1, ... 1."""
    return every_tile(kernel, _tile) + _driver(kernel)


def every_tile(kernel: WithTiles, tile: Callable[[Any, int, int], str]) -> str:
    """The tiles of a kernel: of every width, and of these with the lanes that are left."""
    tiles = [tile(kernel, width, 0) for width in range(1, kernel.vectors + 1)]
    for left in left_lanes(kernel):
        tiles += [tile(kernel, width, left) for width in _widths_with_left(kernel)]
    return "\n".join(tiles)


def left_lanes(kernel: WithTiles | SubsetKernel) -> tuple[int, ...]:
    """The numbers of lanes that tiles take besides whole vectors, the least first; fewer take as long as these."""
    if isinstance(kernel, SubsetKernel):
        return ()
    if not kernel.changes:
        return (kernel.left,) * (kernel.left > 0)
    return tuple(sorted({min(FEW_LANES, kernel.left), kernel.left}))


def _widths_with_left(kernel: WithTiles | SubsetKernel) -> range:
    """Vectors of the tiles that also take the lanes that are left."""
    return range(1, kernel.vectors + _widest_has_room(kernel)) if left_lanes(kernel) else range(0)


def _widest_has_room(kernel: WithTiles | SubsetKernel) -> bool:
    """Whether sums of the lanes that are left fit the registers besides those of the widest tile, x and a weight.

    One that is kept in memory costs less than a tile more.
    """
    if isinstance(kernel, SubsetKernel):
        return False
    used = (kernel.rows + 1) * kernel.vectors + 1
    registers = 16 if used <= 16 else 32
    return kernel.left == 1 or kernel.vectors == 1 or used + kernel.left <= registers + 1


def tile_name(kernel: WithTiles, vectors: int, left: int) -> str:
    """Name of the C function of one tile."""
    return f"{kernel.name}_tile_{vectors}{f'_left{left}' * (left > 0)}"


def tile_function(kernel: WithTiles, vectors: int, left: int, arguments: str, lines: Sequence[str]) -> str:
    """C text of one tile."""
    return f"static void {tile_name(kernel, vectors, left)}({arguments}) {{\n" + "\n".join(lines) + "\n}\n"


Cells = list[tuple[int, int]]


def cells(rows: int, vectors: int) -> Cells:
    """Row and vector of each accumulator."""
    return [(row, vector) for row in range(rows) for vector in range(vectors)]


def sums(tile: Cells, start: str, kind: str = "vector") -> list[str]:
    """The accumulators of a C type; `start` is a C expression with {0} for the row and {1} for the vector."""
    return [f"    {kind} a{r}_{v} = {start.format(r, v)};" for r, v in tile]


def use_column(
    rows: Sequence[int], vectors: int, left: int = 0, choose: bool = False, ahead: str = AHEAD
) -> list[str]:
    """Column j of x, loaded once, added to rows that have the next weights; the column `ahead` is asked for.

    `choose` from the lanes of x: those of `choices`.
    """
    add, read = "left[{0}][i] += w * p[{1} * LANES + {0}];", "load(p + {0} * LANES)"
    if choose:
        add = "left[{0}][i] = add_chosen(left[{0}][i], w, p + {1} * LANES + {0}, left{0});"
        read = "load_chosen(p + {0} * LANES, k{0})"
    lines = [
        *column("float", vectors + (left > 0), ahead),
        *_use_left(left, vectors, add, "vector w = load(weights + i * LANES);"),
        *(f"        vector x{v} = {read.format(v)};" for v in range(vectors)),
    ]
    for index, row in enumerate(rows):
        lines.append(f"        {{ float w = weights[{index}];")
        lines += [f"        a{row}_{v} += w * x{v};" for v in range(vectors)]
        lines.append("        }")
    return [*lines, f"        weights += {len(rows)};"]


def use_words(rows: int, vectors: int, dot: str, left: int = 0) -> list[str]:
    """The same of column j of words; the macro `dot` multiplies them with words of weights and adds."""
    add = f"{dot}(left[{{0}}][i], splat_word(p[{{1}} * LANES + {{0}}]), w);"
    lines = [
        *column("int32_t", vectors + (left > 0)),
        *_use_left(left, vectors, add, "lanes_mask w = load_words(weights + i * LANES);"),
        *(f"        lanes_mask x{v} = load_words(p + {v} * LANES);" for v in range(vectors)),
    ]
    for row in range(rows):
        lines.append(f"        {{ lanes_mask w = splat_word(weights[{row}]);")
        lines += [f"        {dot}(a{row}_{v}, x{v}, w);" for v in range(vectors)]
        lines.append("        }")
    return [*lines, f"        weights += {rows};"]


def choices(vectors: int, left: int = 0) -> list[str]:
    """The lanes of x that may be read, from the masks `inside`: of each vector, and each lane that is left."""
    return [
        *(f"        choice k{v} = chosen(inside + {v} * LANES);" for v in range(vectors)),
        *(
            f"        choice left{lane} = all_or_none(inside[{vectors} * LANES + {lane}]);"
            for lane in range(left)
        ),
    ]


def _use_left(left: int, vectors: int, add: str, weights: str) -> list[str]:
    """`add` is the C statement for lane {0} behind {1} vectors."""
    if not left:
        return []
    adds = " ".join(add.format(lane, vectors) for lane in range(left))
    return [f"        for (int i = 0; i < ROW_VECTORS; i++) {{ {weights} {adds} }}"]


def begin_left(left: int, rows: int, start: str, kind: str = "vector") -> list[str]:
    """Sums of the lanes that are left: there the rows are the lanes, and weights are read in whole vectors of them.

    `start` is the C array of what they begin with.
    """
    if not left:
        return []
    return [
        f"    enum {{ ROW_VECTORS = ({rows} + LANES - 1) / LANES }};",
        f"    {kind} left[{left}][ROW_VECTORS];",
        "    for (int i = 0; i < ROW_VECTORS; i++) {",
        f"        {kind} first = ({kind})load_part((const float *){start} + i * LANES, {rows} - i * LANES);",
        *(f"        left[{lane}][i] = first;" for lane in range(left)),
        "    }",
    ]


def end_left(left: int, rows: int, vectors: int, splat: str = "splat", kind: str = "vector") -> list[str]:
    """The sums of the lanes that are left as a vector more of each row; those of a single one fill all its lanes."""
    if left <= 1:
        single = f"{splat}(left[0][{{0}} / LANES][{{0}} % LANES])"
        return [f"    {kind} a{r}_{vectors} = {single.format(r)};" for r in range(rows) if left]
    lanes = ", ".join(f"(vector)left[{lane}][0]" for lane in range(left))
    return [
        f"    vector turned[LANES] = {{{lanes}}};",
        "    transpose(turned);",
        *(f"    {kind} a{r}_{vectors} = ({kind})turned[{r}];" for r in range(rows)),
    ]


def column(element: str, vectors: int, ahead: str = AHEAD) -> list[str]:
    """Where column j lies; the column `ahead` and weights further on are asked for."""
    return [
        f"        const {element} *p = (const {element} *)(x + columns[j]);",
        f"        const char *ahead = {ahead};",
        f"        for (int byte = 0; byte < {vectors} * VECTOR_BYTES; byte += 64) __builtin_prefetch(ahead + byte);",
        f"        __builtin_prefetch((const char *)weights + {WEIGHTS_AHEAD});",
    ]


def stores(epilogue: Epilogue, tile: Cells) -> list[str]:
    """Every sum after its epilogue into the row that its panel says.

    Places of rows are read before the first store, which might overwrite them for all the compiler knows.
    """
    lines = [f"    const int32_t row{row} = rows[{row}];" for row in dict(tile)]
    for row, vector in tile:
        at = f"row{row} + {vector} * LANES"
        value = finished(epilogue, f"a{row}_{vector}", f"residual + {at}")
        lines.append(f"    store_masked(y + {at}, {value}, mask + {vector} * LANES);")
    return lines


def finished(epilogue: Epilogue, value: str, residual: str) -> str:
    """C expression of a sum after its epilogue."""
    if epilogue.residual:
        value = f"({value} + load({residual}))"
    return activation_call(epilogue.activation, value)


def lane_loops(kernel: WithTiles | SubsetKernel, call: str, work: str = "column_start") -> str:
    """Lane chunks outside, so that the part of x in use stays in the level-2 cache; then panels; then tiles.

    `call` is the tile's call with {0} for its vectors; the last tile takes the lanes that are left as well. Workers
    share out lanes, or panels by their share of `work` (a C array, panels + 1 sums); panels that accumulate may write
    the same rows, so those only share out lanes.
    """
    most, lefts = kernel.vectors, left_lanes(kernel)
    tiles = {v: f"{v}" for v in range(1, most + 1)}
    for kind, left in enumerate(lefts, 1):
        tiles |= {kind * most + v: f"{v}_left{left}" for v in _widths_with_left(kernel)}
    cases = "\n".join(f"                case {at}: {call.format(tile)}; break;" for at, tile in tiles.items())
    whole, number, which = _whole_vectors(kernel)
    behind = f" + ({number} && to == whole)" if lefts and not _widest_has_room(kernel) else ""
    return f"""{whole}    range lanes = share(by_lanes ? w : ALONE, {"whole" if lefts else "vectors"});
    range own = share_panels(by_lanes ? ALONE : w, {work}, panels);
    for (int from = lanes.from; from < lanes.to; from += chunk) {{
        int to = from + chunk < lanes.to ? from + chunk : lanes.to;
        for (int panel = own.from; panel < own.to; panel++) {{
            for (ptrdiff_t t = from; t < to;) {{
                int tiles = ((int)(to - t){behind} + {most - 1}) / {most};
                int width = ((int)(to - t) + tiles - 1) / tiles;
                switch ({which}) {{
{cases}
                }}
                t += width;
            }}
        }}
    }}
"""


def _whole_vectors(kernel: WithTiles | SubsetKernel) -> tuple[str, str, str]:
    """C that counts the vectors besides the lanes that are left, which kind of tile takes these, and which tile."""
    lefts = left_lanes(kernel)
    if isinstance(kernel, SubsetKernel) or not lefts:
        return "", "0", "width"
    if not kernel.changes:
        return "    int whole = vectors - 1;\n", "1", f"width + (t + width == whole ? {kernel.vectors} : 0)"
    kinds = "".join(f" + (left > {lanes})" for lanes in lefts[:-1])
    text = f"""    int kind = vectors > 1 && left > 0 && left <= {kernel.left} ? 1{kinds} : 0;
    int whole = vectors - (kind > 0);
"""
    return text, "kind", f"width + (t + width == whole ? kind * {kernel.vectors} : 0)"


def left_argument(kernel: WithTiles) -> str:
    """C of the argument that tells the number of lanes that are left, where it changes."""
    return " int left," if kernel.changes else ""


_GROUPS = (
    "const int32_t *ends, const int32_t *inside, int inside_row, "  # of columns: ends, masks, lanes of a mask
)

_NEXT = "const char *next, const int32_t *next_columns, "  # what the next tile reads

_TILE_ARGUMENTS = (
    "const char *x, const int32_t *columns, int count, const float *weights, const float *bias, float *y, "
    "const int32_t *rows, const int32_t *mask, const float *residual"
)


def _tile(kernel: PanelKernel, vectors: int, left: int) -> str:
    tile = cells(kernel.rows, vectors)
    start = "load(y + rows[{0}] + {1} * LANES)" if kernel.accumulate else "splat(bias[{0}])"
    raw = [f"    store(y + rows[{r}] + {v} * LANES, a{r}_{v});" for r, v in tile]
    lines = [
        *sums(tile, start),
        *begin_left(left, kernel.rows, "bias"),
        *_columns(kernel, vectors, left),
        *end_left(left, kernel.rows, vectors),
        *(raw if kernel.accumulate else stores(kernel.epilogue, cells(kernel.rows, vectors + (left > 0)))),
    ]
    before = _GROUPS if kernel.shifts else _NEXT
    return tile_function(kernel, vectors, left, before + _TILE_ARGUMENTS, lines)


def _columns(kernel: PanelKernel, vectors: int, left: int) -> list[str]:
    """The sums over all columns of a panel, group by group where each has masks of its own.

    Where there are none, the last columns ask for the first ones of the next tile in the same pass.
    """
    rows = range(kernel.rows)
    if not kernel.shifts:
        return [
            f"    int early = count > {PREFETCH_COLUMNS} ? count - {PREFETCH_COLUMNS} : 0, j = 0;",
            "    for (; j < early; j++) {",
            *use_column(rows, vectors, left),
            "    }",
            "    for (; j < count; j++) {",
            *use_column(rows, vectors, left, ahead=AHEAD_IN_NEXT_TILE),
            "    }",
        ]
    use = use_column(rows, vectors, left, choose=True)
    return [
        f"    for (int group = 0, j = 0; group < {kernel.shifts}; group++, inside += inside_row) {{",
        *choices(vectors, left),
        "    for (; j < ends[group]; j++) {",
        *use,
        "    }",
        "    }",
    ]


def _driver(kernel: PanelKernel) -> str:
    following = "x + (t + width < to ? t + width : from) * VECTOR_BYTES, "
    following += "columns + column_start[panel + (t + width >= to)], "
    groups = f"ends + panel * {kernel.shifts}, inside + t * LANES, inside_row, "
    call = (
        f"{kernel.name}_tile_{{0}}({groups if kernel.shifts else following}"
        f"x + t * VECTOR_BYTES, columns + column_start[panel], "
        f"column_start[panel + 1] - column_start[panel], weights + (size_t)column_start[panel] * {kernel.rows}, "
        f"bias + panel * {kernel.rows}, y + t * LANES, rows + panel * {kernel.rows}, mask + t * LANES, "
        "residual + t * LANES)"
    )
    return f"""
static void {kernel.name}(worker w, {_GROUPS * (kernel.shifts > 0)}const int32_t *columns, const int32_t *column_start,
                          const float *weights, const float *bias, const int32_t *rows, const int32_t *mask, int panels,
                          int vectors, int chunk, int by_lanes,{left_argument(kernel)} const char *x, float *y,
                          const float *residual) {{
{lane_loops(kernel, call)}}}
"""
