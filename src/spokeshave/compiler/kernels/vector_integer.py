"""C text of the integer matrix-times-few-vectors kernels: neighbouring outputs are the lanes.

    sums[i] = start[i] + sum over j of dot4(weights[j][i], word j of x)       int32, i < ROWS

The walk of the float kernel (`vector.py`): weights stream past once for every few vectors. A word of x is four
neighbouring bytes, or with `gathered` the bytes of any four columns.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import IntegerVectorKernel
from spokeshave.compiler.kernels.vector import PREFETCH_BYTES, SUMS

_TILE_ARGUMENTS = (
    "const {index} *columns, int count, const int32_t *weights, const int32_t *start, const float *scale, "
    "const float *shift, int rows, const uint8_t *x, ptrdiff_t x_stride, {output} *y, ptrdiff_t y_stride, "
    "const {residual} *residual, ptrdiff_t residual_stride, requantization q"
)


def integer_vector_function(kernel: IntegerVectorKernel) -> str:
    """C text of one driver with its register tiles: 1, 2, ... vectors at a time."""
    tiles = "".join(_tile(kernel, vectors) for vectors in range(1, kernel.vectors + 1))
    return _finish(kernel) + tiles + _driver(kernel)


def _types(kernel: IntegerVectorKernel) -> dict[str, str]:
    return {
        "index": kernel.index,
        "output": "uint8_t" if kernel.integer_output else "float",
        "residual": "uint8_t" if kernel.residual == "uint8" else "float",
    }


def _tile(kernel: IntegerVectorKernel, vectors: int) -> str:
    pieces = range(kernel.rows // kernel.lanes)
    cells = [(v, p) for v in range(vectors) for p in pieces]
    unroll = max(1, SUMS // len(cells))
    lines = [
        f"static void {kernel.name}_tile_{vectors}({_TILE_ARGUMENTS.format(**_types(kernel))}) {{",
        *(f"    lanes_mask s0_{v}_{p} = load_words(start + {p} * LANES);" for v, p in cells),
        *(f"    lanes_mask s{u}_{v}_{p} = {{0}};" for u in range(1, unroll) for v, p in cells),
        "    int j = 0;",
        f"    for (; j + {unroll} <= count; j += {unroll}) {{",
        *(_column(kernel, u, vectors) for u in range(unroll)),
        "    }",
        *(["    for (; j < count; j++)", _column(kernel, 0, vectors)] if unroll > 1 else []),
        *(f"    s0_{v}_{p} += s{u}_{v}_{p};" for u in range(1, unroll) for v, p in cells),
        *(_finish_call(kernel, v) for v in range(vectors)),
        "    (void)x_stride, (void)y_stride, (void)residual_stride;\n}\n",
    ]
    return "\n".join(lines)


def _column(kernel: IntegerVectorKernel, u: int, vectors: int) -> str:
    """One word of every row: its weights once, its word of every vector."""
    pieces = range(kernel.rows // kernel.lanes)
    lines = [f"        {{ const int32_t *w = weights + (size_t)(j + {u}) * {kernel.rows};"]
    if kernel.prefetch:
        lines += [
            f"        __builtin_prefetch((const char *)w + {PREFETCH_BYTES + byte});"
            for byte in range(0, 4 * kernel.rows, 64)
        ]
    lines += [f"        lanes_mask w{p} = load_words(w + {p} * LANES);" for p in pieces]
    for v in range(vectors):
        dots = " ".join(f"DOT_WORDS(s{u}_{v}_{p}, e, w{p});" for p in pieces)
        lines.append(
            f"        {{ lanes_mask e = {_word(kernel, f'x + {v} * x_stride', f'j + {u}')}; {dots} }}"
        )
    return "\n".join(lines) + " }"


def _word(kernel: IntegerVectorKernel, x: str, j: str) -> str:
    """C expression of one word of a vector in every lane."""
    if not kernel.gathered:
        return f"broadcast_word({x} + 4 * (ptrdiff_t)columns[{j}])"
    bytes_ = (f"(uint32_t)({x})[columns[4 * ({j}) + {k}]] << {8 * k}" for k in range(4))
    return f"splat_word((int32_t)({' | '.join(bytes_)}))"


def _finish_call(kernel: IntegerVectorKernel, v: int) -> str:
    sums = ", ".join(f"s0_{v}_{p}" for p in range(kernel.rows // kernel.lanes))
    places = f"y + {v} * y_stride, residual + {v} * residual_stride"
    return f"    {kernel.name}_finish({sums}, scale, shift, rows, {places}, q);"


def _finish(kernel: IntegerVectorKernel) -> str:
    """What follows the sums of one group of rows; what lies behind the last row stays untouched."""
    pieces = range(kernel.rows // kernel.lanes)
    types = _types(kernel)
    body = "\n".join(_finish_piece(kernel, p) for p in pieces)
    return f"""
INLINE void {kernel.name}_finish({", ".join(f"lanes_mask s{p}" for p in pieces)}, const float *scale,
                                 const float *shift, int rows, {types["output"]} *y,
                                 const {types["residual"]} *residual, requantization q) {{
{body}
    (void)residual, (void)q;
}}
"""


def _finish_piece(kernel: IntegerVectorKernel, p: int) -> str:
    at = f"{p} * LANES"
    value = (
        f"fused_multiply_add(__builtin_convertvector(s{p}, vector), load(scale + {at}), load(shift + {at}))"
    )
    if kernel.residual is not None:
        load = "load_bytes" if kernel.residual == "uint8" else "load_some"
        value = f"fused_multiply_add({load}(residual + {at}, rows - {at}), splat(q.residual_scale), {value})"
    value = activation_call(kernel.activation, value)
    if not kernel.integer_output:
        return f"    if (rows > {at}) store_some(y + {at}, {value}, rows - {at});"
    value = f"in_output_units({value}, q)" if kernel.activation else value
    return f"    if (rows > {at}) store_bytes(y + {at}, requantized({value}, q), rows - {at});"


def _driver(kernel: IntegerVectorKernel) -> str:
    """As the float kernel's: vectors outside, and with `backwards` the last panel first."""
    types = _types(kernel)
    first = "(size_t)start_of_panel * 4" if kernel.gathered else "start_of_panel"
    cases = "\n".join(
        f"                case {v}: {kernel.name}_tile_{v}(columns + {first}, "
        f"column_start[panel + 1] - start_of_panel, weights + (size_t)start_of_panel * {kernel.rows}, start + row, "
        f"scale + row, shift + row, rows - row, x + from * x_stride, x_stride, y + from * y_stride + row, y_stride, "
        f"residual + from * residual_stride + row, residual_stride, q); break;"
        for v in range(1, kernel.vectors + 1)
    )
    return f"""
static void {kernel.name}(worker w, const {kernel.index} *columns, const int32_t *column_start, const int32_t *weights,
                          const int32_t *start, const float *scale, const float *shift, int rows, int vectors,
                          int backwards, const uint8_t *x, ptrdiff_t x_stride, {types["output"]} *y,
                          ptrdiff_t y_stride, const {types["residual"]} *residual, ptrdiff_t residual_stride,
                          requantization q) {{
    range own = share_panels(w, column_start, (rows + {kernel.rows - 1}) / {kernel.rows});
    for (ptrdiff_t from = 0; from < vectors;) {{
        int tiles = (vectors - (int)from + {kernel.vectors - 1}) / {kernel.vectors};
        int width = (vectors - (int)from + tiles - 1) / tiles;
        for (int i = own.from; i < own.to; i++) {{
            int panel = backwards ? own.from + own.to - 1 - i : i;
            int start_of_panel = column_start[panel], row = panel * {kernel.rows};
            switch (width) {{
{cases}
            }}
        }}
        from += width;
    }}
}}
"""
