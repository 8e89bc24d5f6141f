"""C text of the matrix-times-few-vectors kernels: neighbouring outputs are the lanes.

    y[v][panel * ROWS + i] = epilogue(bias[...] + sum over j of weights[j][i] * x[v][columns[j]])      i < ROWS

The weights of a panel stream through once for every few vectors (the samples of a small batch, the steps of a
sequence): each is loaded once and multiplied with the same column of every vector. For one vector the stream is all
there is to wait for, so several columns are summed apart to hide the latency of the multiply-add.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import Epilogue, VectorKernel

SUMS = 8  # accumulators that hide the latency of the multiply-add: 4 cycles, two a cycle
PREFETCH_BYTES = 2048

_TILE_ARGUMENTS = (
    "const {index} *columns, int count, const {weight} *weights, const float *bias, int rows, const float *x, "
    "ptrdiff_t x_stride, float *y, const float *residual, ptrdiff_t y_stride"
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
    unrolled = "".join(_column(kernel, u, vectors) for u in range(unroll))
    arguments = _TILE_ARGUMENTS.format(index=kernel.index, weight=kernel.weight)
    lines = [
        f"static void {kernel.name}_tile_{vectors}({arguments}) {{",
        f"    {kernel.name}_piece {', '.join(f'{name} = {{0}}' for name in sums)};",
        "    int j = 0;",
        f"    for (; j + {unroll} <= count; j += {unroll}) {{\n{unrolled}    }}",
        f"    for (; j < count; j++) {{\n{_column(kernel, 0, vectors)}    }}" if unroll > 1 else "",
        *(
            f"    s0_{v}_{p} = {' + '.join(f's{u}_{v}_{p}' for u in range(unroll))};"
            for v, p in cells
            if unroll > 1
        ),
        *(_finish_call(kernel, v) for v in range(vectors)),
        "    (void)x_stride;\n    (void)y_stride;\n}\n" if vectors == 1 else "}\n",
    ]
    return "\n".join(line for line in lines if line)


def _column(kernel: VectorKernel, u: int, vectors: int) -> str:
    """One column: its weights once, its entry of every vector."""
    pieces = range(kernel.rows // kernel.piece)
    lines = [
        f"        {{ const {kernel.weight} *w = weights + (size_t)(j + {u}) * {kernel.rows};",
        f"        const float *p = x + columns[j + {u}];",
    ]
    if kernel.prefetch:
        lines += [
            f"        __builtin_prefetch((const char *)w + {PREFETCH_BYTES + byte});"
            for byte in range(0, (2 if kernel.half else 4) * kernel.rows, 64)
        ]
    lines += _loads(kernel)
    for v in range(vectors):
        lines.append(f"        {{ float e = p[{v} * x_stride];" if v else "        { float e = p[0];")
        lines.append("        " + " ".join(f"s{u}_{v}_{p} += e * w{p};" for p in pieces) + " }")
    return "\n".join(lines) + " }\n"


def _finish_call(kernel: VectorKernel, v: int) -> str:
    sums = ", ".join(f"s0_{v}_{p}" for p in range(kernel.rows // kernel.piece))
    at = f" + {v} * y_stride" if v else ""
    return f"    {kernel.name}_finish({sums}, bias, y{at}, residual{at}, rows);"


def _finish(kernel: VectorKernel) -> str:
    """Bias, residual, activation and store of one group; what lies behind the last row stays untouched."""
    pieces = range(kernel.rows // kernel.piece)
    name = kernel.name
    arguments = ", ".join(f"{name}_piece s{p}" for p in pieces)
    biased = "\n".join(f"    s{p} += *(const {name}_unaligned *)(bias + {p * kernel.piece});" for p in pieces)
    saved = "\n".join(f"    *({name}_unaligned *)(sums + {p * kernel.piece}) = s{p};" for p in pieces)
    residual = "memcpy(other, residual + i, bytes);" if kernel.epilogue.residual else "(void)residual;"
    total = "load(sums + i) + load(other)" if kernel.epilogue.residual else "load(sums + i)"
    return f"""
INLINE void {name}_finish({arguments}, const float *bias, float *y, const float *residual, int rows) {{
{biased}
{_whole_group(kernel)}
    float sums[{kernel.rows} + LANES], other[LANES];
    memset(sums, 0, sizeof sums);
    memset(other, 0, sizeof other);
{saved}
    for (int i = 0; i < rows && i < {kernel.rows}; i += LANES) {{
        int left = rows - i < {kernel.rows} - i ? rows - i : {kernel.rows} - i;
        size_t bytes = (size_t)(left < LANES ? left : LANES) * sizeof(float);
        {residual}
        vector result = {activation_call(kernel.epilogue.activation, total)};
        memcpy(y + i, &result, bytes);
    }}
}}
"""


def _whole_group(kernel: VectorKernel) -> str:
    """The usual way: every row of the group exists, and its pieces are vectors of the machine or need no epilogue."""
    lines = []
    for p in range(kernel.rows // kernel.piece):
        at = p * kernel.piece
        value = f"s{p} + load(residual + {at})" if kernel.epilogue.residual else f"s{p}"
        value = activation_call(kernel.epilogue.activation, value)
        lines.append(f"        *({kernel.name}_unaligned *)(y + {at}) = {value};")
    whole = f"    if (rows >= {kernel.rows}) {{\n" + "\n".join(lines) + "\n        return;\n    }"
    return whole if kernel.epilogue == Epilogue() else f"#if LANES == {kernel.piece}\n{whole}\n#endif"


def _driver(kernel: VectorKernel) -> str:
    """Vectors outside, so that those in use stay in the level-1 cache while the weights stream past them.

    With `backwards` the last panel comes first: a product that is repeated finds what is left of it in the cache.
    """
    cases = "\n".join(
        f"                case {v}: {kernel.name}_tile_{v}(columns + start, column_start[panel + 1] - start, "
        f"weights + (size_t)start * {kernel.rows}, bias + row, rows - row, x + from * x_stride, x_stride, "
        f"y + from * y_stride + row, residual + from * y_stride + row, y_stride); break;"
        for v in range(1, kernel.vectors + 1)
    )
    return f"""
static void {kernel.name}(worker w, const {kernel.index} *columns, const int32_t *column_start,
                          const {kernel.weight} *weights, const float *bias, int rows, int vectors, int backwards,
                          const float *x, ptrdiff_t x_stride, float *y, const float *residual,
                          ptrdiff_t y_stride) {{
    range own = share_panels(w, column_start, (rows + {kernel.rows - 1}) / {kernel.rows});
    for (ptrdiff_t from = 0; from < vectors;) {{
        int tiles = (vectors - (int)from + {kernel.vectors - 1}) / {kernel.vectors};
        int width = (vectors - (int)from + tiles - 1) / tiles;
        for (int i = own.from; i < own.to; i++) {{
            int panel = backwards ? own.from + own.to - 1 - i : i;
            int start = column_start[panel], row = panel * {kernel.rows};
            switch (width) {{
{cases}
            }}
        }}
        from += width;
    }}
}}
"""
