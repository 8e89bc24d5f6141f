"""C text of the matrix-times-few-vectors kernels: neighbouring outputs are the lanes.

    y[v][panel * ROWS + i] = epilogue(bias[...] + sum over j of weights[j][i] * x[v][columns[j]])      i < ROWS

The weights of a panel stream through once for every few vectors (the samples of a small batch, the steps of a
sequence): each is loaded once and multiplied with the same column of every vector. For one vector the stream is all
there is to wait for, so several columns are summed apart to hide the latency of the multiply-add.

With segments the rows of a panel keep different columns: `x[v][columns[j] + places[j][i]]` takes the place of
`x[v][columns[j]]`. Places of several j, a few bits each, share a word, and a permutation of registers picks by them
(`segments.h`), so what streams by is hardly more than the packed form (DARB, arXiv 1911.08020; N:M; banks).
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import (
    Epilogue,
    IntegerVectorKernel,
    VectorKernel,
    place_bits,
    places_per_word,
)

SUMS = 8  # accumulators that hide the latency of the multiply-add: 4 cycles, two a cycle
PREFETCH_BYTES = 2048

_TILE_ARGUMENTS = (
    "const {index} *columns, int count, const {weight} *weights, {places}const float *bias, {numbers}int rows, "
    "const float *x, ptrdiff_t x_stride, float *y, const float *residual, ptrdiff_t y_stride"
)


def vector_function(kernel: VectorKernel) -> str:
    """C text of one driver with its register tiles: 1, 2, ... vectors at a time."""
    tiles = "".join(_tile(kernel, vectors) for vectors in range(1, kernel.vectors + 1))
    return _types(kernel) + _finish(kernel) + tiles + _driver(kernel)


def _types(kernel: VectorKernel) -> str:
    """The group's pieces: vectors of the machine, or shorter ones where the group has fewer rows than lanes."""
    attributes = f"vector_size({4 * kernel.piece})"
    return f"""
typedef float {kernel.name}_piece __attribute__(({attributes}));
typedef float {kernel.name}_unaligned __attribute__(({attributes}, aligned(4), may_alias));
typedef uint32_t {kernel.name}_words __attribute__(({attributes}));
typedef uint32_t {kernel.name}_unaligned_words __attribute__(({attributes}, aligned(2), may_alias));
"""


def _loads(kernel: VectorKernel) -> list[str]:
    """The weights of one column as pieces. A word of two bfloat16 holds one of a piece below, one of the next above."""
    name, size = kernel.name, kernel.piece
    pieces = range(kernel.rows // size)
    if not kernel.half:
        return [f"        {name}_piece w{p} = *(const {name}_unaligned *)(w + {p * size});" for p in pieces]
    lines = []
    for p in pieces[::2]:
        lines += [
            f"        {name}_words h{p} = *(const {name}_unaligned_words *)(w + {p * size});",
            f"        {name}_piece w{p} = ({name}_piece)(h{p} << 16);",
            f"        {name}_piece w{p + 1} = ({name}_piece)(h{p} & 0xFFFF0000u);",
        ]
    return lines


def _tile(kernel: VectorKernel, vectors: int) -> str:
    pieces = range(kernel.rows // kernel.piece)
    cells = [(v, p) for v in range(vectors) for p in pieces]
    unroll = max(1, SUMS // len(cells))
    sums = [f"s{u}_{v}_{p}" for u in range(unroll) for v, p in cells]
    lines = [
        f"static void {kernel.name}_tile_{vectors}({_tile_arguments(kernel)}) {{",
        f"    {kernel.name}_piece {', '.join(f'{name} = {{0}}' for name in sums)};",
        "    int j = 0;",
        *(_picks if kernel.segment else _loops)(kernel, unroll, vectors),
        *(
            f"    s0_{v}_{p} = {' + '.join(f's{u}_{v}_{p}' for u in range(unroll))};"
            for v, p in cells
            if unroll > 1
        ),
        *(_finish_call(kernel, v) for v in range(vectors)),
        "    (void)x_stride;\n    (void)y_stride;\n}\n" if vectors == 1 else "}\n",
    ]
    return "\n".join(line for line in lines if line)


def _tile_arguments(kernel: VectorKernel) -> str:
    return _TILE_ARGUMENTS.format(
        index=kernel.index,
        weight=kernel.weight,
        places="const int32_t *places, " if kernel.segment else "",
        numbers="const int32_t *numbers, " if kernel.scattered else "",
    )


def _loops(kernel: VectorKernel, unroll: int, vectors: int) -> list[str]:
    unrolled = "".join(_column(kernel, u, vectors) for u in range(unroll))
    return [
        f"    for (; j + {unroll} <= count; j += {unroll}) {{\n{unrolled}    }}",
        f"    for (; j < count; j++) {{\n{_column(kernel, 0, vectors)}    }}" if unroll > 1 else "",
    ]


def _picks(kernel: VectorKernel, unroll: int, vectors: int) -> list[str]:
    shared, pieces = places_per_word(kernel.segment), kernel.rows // kernel.piece
    columns = [_picked(kernel, j, j % unroll, vectors) for j in range(shared)]
    return segment_loops(columns, kernel.segment, pieces)


def segment_loops(columns: list[str], segment: int, pieces: int) -> list[str]:
    """Loops over the columns of a panel, `columns` at a time, which share words of places.

    A word is shifted from one column to the next.
    """
    shared, shift = len(columns), place_bits(segment)
    words = [f"        lanes_mask i{p} = load_words(places + {p} * LANES);" for p in range(pieces)]
    next_places = " ".join(f"i{p} = shifted_right(i{p}, {shift});" for p in range(pieces))
    unrolled = f"        {next_places}\n".join(columns)
    loops = [
        f"    for (; j + {shared} <= count; j += {shared}, places += {pieces} * LANES) {{",
        *words,
        f"{unrolled}    }}",
    ]
    rest = f"    for (; j < count; j++) {{\n{columns[0]}        {next_places}\n    }}\n    }}"
    return [*loops, *(["    if (j < count) {", *words, rest] if shared > 1 else [])]


def _begin_column(kernel: VectorKernel, j: int) -> list[str]:
    """A column's weights, and where it begins in the first vector."""
    lines = [
        f"        {{ const {kernel.weight} *w = weights + (size_t)(j + {j}) * {kernel.rows};",
        f"        const float *p = x + columns[j + {j}];",
    ]
    if kernel.prefetch:
        lines += [
            f"        __builtin_prefetch((const char *)w + {PREFETCH_BYTES + byte});"
            for byte in range(0, (2 if kernel.half else 4) * kernel.rows, 64)
        ]
    return lines + _loads(kernel)


def _picked(kernel: VectorKernel, j: int, u: int, vectors: int) -> str:
    """One column of a segment: its weights once, of every vector what their places say."""
    lines = _begin_column(kernel, j)
    for v in range(vectors):
        at = f"p + {v} * x_stride" if v else "p"
        sums = (
            f"s{u}_{v}_{p} += pick_{kernel.segment}({at}, i{p}) * w{p};"
            for p in range(kernel.rows // kernel.piece)
        )
        lines.append("        " + " ".join(sums))
    return "\n".join(lines) + " }\n"


def _column(kernel: VectorKernel, u: int, vectors: int) -> str:
    """One column: its weights once, its entry of every vector."""
    pieces = range(kernel.rows // kernel.piece)
    lines = _begin_column(kernel, u)
    for v in range(vectors):
        lines.append(f"        {{ float e = p[{v} * x_stride];" if v else "        { float e = p[0];")
        lines.append("        " + " ".join(f"s{u}_{v}_{p} += e * w{p};" for p in pieces) + " }")
    return "\n".join(lines) + " }\n"


def _finish_call(kernel: VectorKernel, v: int) -> str:
    sums = ", ".join(f"s0_{v}_{p}" for p in range(kernel.rows // kernel.piece))
    at = f" + {v} * y_stride" if v else ""
    numbers = "numbers, " * kernel.scattered
    return f"    {kernel.name}_finish({sums}, bias, {numbers}y{at}, residual{at}, rows);"


def _finish(kernel: VectorKernel) -> str:
    """Bias, residual, activation and store of one group; what lies behind the last row stays untouched."""
    pieces = range(kernel.rows // kernel.piece)
    name = kernel.name
    arguments = ", ".join(f"{name}_piece s{p}" for p in pieces)
    biased = "\n".join(f"    s{p} += *(const {name}_unaligned *)(bias + {p * kernel.piece});" for p in pieces)
    saved = "\n".join(f"    *({name}_unaligned *)(sums + {p * kernel.piece}) = s{p};" for p in pieces)
    residual, stored = _moves(kernel)
    total = "load(sums + i) + load(other)" if kernel.epilogue.residual else "load(sums + i)"
    numbers = "const int32_t *numbers, " * kernel.scattered
    return f"""
INLINE void {name}_finish({arguments}, const float *bias, {numbers}float *y, const float *residual, int rows) {{
{biased}
{_whole_group(kernel)}
    float sums[{kernel.rows} + LANES], other[LANES];
    memset(sums, 0, sizeof sums);
    memset(other, 0, sizeof other);
{saved}
    for (int i = 0; i < rows && i < {kernel.rows}; i += LANES) {{
        int left = rows - i < {kernel.rows} - i ? rows - i : {kernel.rows} - i;
        left = left < LANES ? left : LANES;
        {residual}
        vector result = {activation_call(kernel.epilogue.activation, total)};
        {stored}
    }}
}}
"""


def _moves(kernel: VectorKernel) -> tuple[str, str]:
    """C that fetches the residual of the next `left` rows, and that stores their results."""
    if kernel.scattered:
        residual = "for (int k = 0; k < left; k++) other[k] = residual[numbers[i + k]];"
        stored = "for (int k = 0; k < left; k++) y[numbers[i + k]] = result[k];"
    else:
        residual = "memcpy(other, residual + i, (size_t)left * sizeof(float));"
        stored = "memcpy(y + i, &result, (size_t)left * sizeof(float));"
    return (residual if kernel.epilogue.residual else "(void)residual;"), stored


def _whole_group(kernel: VectorKernel) -> str:
    """The usual way: every row of the group exists, and its pieces are vectors of the machine or need no epilogue.

    Rows in an order of their own are stored one by one, without a loop: a panel hardly takes longer than its stores.
    """
    if kernel.scattered and kernel.epilogue.residual:
        return ""
    to, lines = "sums" if kernel.scattered else "y", []
    for p in range(kernel.rows // kernel.piece):
        at = p * kernel.piece
        value = f"s{p} + load(residual + {at})" if kernel.epilogue.residual else f"s{p}"
        value = activation_call(kernel.epilogue.activation, value)
        lines.append(f"        *({kernel.name}_unaligned *)({to} + {at}) = {value};")
    if kernel.scattered:
        lines.insert(0, f"        float sums[{kernel.rows}];")
        lines += [f"        y[numbers[{row}]] = sums[{row}];" for row in range(kernel.rows)]
    whole = f"    if (rows >= {kernel.rows}) {{\n" + "\n".join(lines) + "\n        return;\n    }"
    return whole if kernel.epilogue == Epilogue() else f"#if LANES == {kernel.piece}\n{whole}\n#endif"


def panel_loops(kernel: VectorKernel | IntegerVectorKernel, start: str, cases: str) -> str:
    """C of a driver's loops: vectors outside, so that those in use stay in the level-1 cache while weights stream past.

    With `backwards` the last panel comes first: a product that is repeated finds what is left of it in the cache.
    `cases` run tiles of each width on the panel whose columns begin at `start`.
    """
    return f"""    range own = share_panels(w, column_start, (rows + {kernel.rows - 1}) / {kernel.rows});
    for (ptrdiff_t from = 0; from < vectors;) {{
        int tiles = (vectors - (int)from + {kernel.vectors - 1}) / {kernel.vectors};
        int width = (vectors - (int)from + tiles - 1) / tiles;
        for (int i = own.from; i < own.to; i++) {{
            int panel = backwards ? own.from + own.to - 1 - i : i;
            int {start} = column_start[panel], row = panel * {kernel.rows};
            switch (width) {{
{cases}
            }}
        }}
        from += width;
    }}
"""


def _driver(kernel: VectorKernel) -> str:
    at = "" if kernel.scattered else " + row"
    constants = ", ".join(f"const {type_} *{name}" for type_, name in kernel.constants)
    cases = "\n".join(
        f"                case {v}: {kernel.name}_tile_{v}(columns + start, column_start[panel + 1] - start, "
        f"weights + (size_t)start * {kernel.rows}, {_of_panel(kernel)}, x + from * x_stride, x_stride, "
        f"y + from * y_stride{at}, residual + from * y_stride{at}, y_stride); break;"
        for v in range(1, kernel.vectors + 1)
    )
    return f"""
static void {kernel.name}(worker w, {constants}, int rows, int vectors,
                          int backwards, const float *x, ptrdiff_t x_stride, float *y, const float *residual,
                          ptrdiff_t y_stride) {{
{panel_loops(kernel, "start", cases)}}}
"""


def _of_panel(kernel: VectorKernel) -> str:
    """A panel's places, bias and row numbers; words of places begin where those of no panel before can lie."""
    word = f"(size_t)(start / {places_per_word(kernel.segment)} + panel)" if kernel.segment else ""
    places = f"places + {word} * {kernel.rows}, " if kernel.segment else ""
    numbers = "numbers + row, " if kernel.scattered else ""
    return f"{places}bias + row, {numbers}rows - row"
