"""C text of the integer matrix-times-few-vectors kernels: neighbouring outputs are the lanes.

    sums[i] = start[i] + sum over j of dot4(weights[j][i], word j of x)       int32, i < ROWS

The walk of the float kernel (`vector.py`): weights stream past once for every few vectors. A word of x is four
neighbouring bytes, or with `gathered` the bytes of any four columns. With segments it is the bytes of four columns of
each row's own, picked from a short segment of x by places (`segment_bytes.h`), as in the float kernel.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import IntegerVectorKernel, places_per_word
from spokeshave.compiler.kernels.vector import PREFETCH_BYTES, SUMS, panel_loops, segment_loops
from spokeshave.compiler.kernels.words import PER_WORD

_TILE_ARGUMENTS = (
    "const {index} *columns, int count, const int32_t *weights, {places}const int32_t *start, const float *scale, "
    "const float *shift, {numbers}int rows, const uint8_t *x, ptrdiff_t x_stride, {output} *y, ptrdiff_t y_stride, "
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
        "places": "const int32_t *places, " * bool(kernel.segment),
        "numbers": "const int32_t *numbers, " * kernel.scattered,
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
        *_loops(kernel, unroll, vectors),
        *(f"    s0_{v}_{p} += s{u}_{v}_{p};" for u in range(1, unroll) for v, p in cells),
        *(_finish_call(kernel, v) for v in range(vectors)),
        "    (void)x_stride, (void)y_stride, (void)residual_stride;\n}\n",
    ]
    return "\n".join(lines)


def _loops(kernel: IntegerVectorKernel, unroll: int, vectors: int) -> list[str]:
    shared = places_per_word(kernel.segment, PER_WORD) if kernel.segment else 1
    if shared > 1:
        columns = [_column(kernel, j, j % unroll, vectors) for j in range(shared)]
        return segment_loops(columns, kernel.segment, kernel.rows // kernel.lanes)
    return [
        f"    for (; j + {unroll} <= count; j += {unroll}) {{",
        *(_column(kernel, u, u, vectors) for u in range(unroll)),
        "    }",
        *(["    for (; j < count; j++)", _column(kernel, 0, 0, vectors)] if unroll > 1 else []),
    ]


def _column(kernel: IntegerVectorKernel, j: int, u: int, vectors: int) -> str:
    """One word of every row: its weights once, its word of every vector."""
    pieces = range(kernel.rows // kernel.lanes)
    lines = [f"        {{ const int32_t *w = weights + (size_t)(j + {j}) * {kernel.rows};"]
    if kernel.prefetch:
        lines += [
            f"        __builtin_prefetch((const char *)w + {PREFETCH_BYTES + byte});"
            for byte in range(0, 4 * kernel.rows, 64)
        ]
    lines += [f"        lanes_mask w{p} = load_words(w + {p} * LANES);" for p in pieces]
    picked = _picked if kernel.segment else _common
    lines += [f"        {{ {picked(kernel, j, u, v)} }}" for v in range(vectors)]
    return "\n".join(lines) + " }\n"


def _common(kernel: IntegerVectorKernel, j: int, u: int, v: int) -> str:
    """A word of one vector that all rows share, times their weights."""
    pieces = range(kernel.rows // kernel.lanes)
    dots = " ".join(f"DOT_WORDS(s{u}_{v}_{p}, e, w{p});" for p in pieces)
    return f"lanes_mask e = {_word(kernel, f'x + {v} * x_stride', f'j + {j}')}; {dots}"


def _picked(kernel: IntegerVectorKernel, j: int, u: int, v: int) -> str:
    """Each row's own word of one vector, times its weights."""
    table = f"const uint8_t *table = x + {v} * x_stride + columns[j + {j}];"
    dots = []
    for p in range(kernel.rows // kernel.lanes):
        own = f"load_words(places + (size_t)(j + {j}) * {kernel.rows} + {p} * LANES)"
        places = f"i{p}" if places_per_word(kernel.segment, PER_WORD) > 1 else own
        dots.append(f"DOT_WORDS(s{u}_{v}_{p}, pick_bytes_{kernel.segment}(table, {places}), w{p});")
    return f"{table} {' '.join(dots)}"


def _word(kernel: IntegerVectorKernel, x: str, j: str) -> str:
    """C expression of one word of a vector in every lane."""
    if not kernel.gathered:
        return f"broadcast_word({x} + 4 * (ptrdiff_t)columns[{j}])"
    bytes_ = (f"(uint32_t)({x})[columns[4 * ({j}) + {k}]] << {8 * k}" for k in range(4))
    return f"splat_word((int32_t)({' | '.join(bytes_)}))"


def _finish_call(kernel: IntegerVectorKernel, v: int) -> str:
    sums = ", ".join(f"s0_{v}_{p}" for p in range(kernel.rows // kernel.lanes))
    places = f"y + {v} * y_stride, residual + {v} * residual_stride"
    numbers = "numbers, " * kernel.scattered
    return f"    {kernel.name}_finish({sums}, scale, shift, {numbers}rows, {places}, q);"


def _finish(kernel: IntegerVectorKernel) -> str:
    """What follows the sums of one group of rows; what lies behind the last row stays untouched."""
    pieces = range(kernel.rows // kernel.lanes)
    types = _types(kernel)
    body = "\n".join(_finish_piece(kernel, p) for p in pieces)
    return f"""
INLINE void {kernel.name}_finish({", ".join(f"lanes_mask s{p}" for p in pieces)}, const float *scale,
                                 const float *shift, {types["numbers"]}int rows, {types["output"]} *y,
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
        residual = _moved(kernel, "load", kernel.residual, "residual", at)
        value = f"fused_multiply_add({residual}, splat(q.residual_scale), {value})"
    value = activation_call(kernel.activation, value)
    if not kernel.integer_output:
        return f"    if (rows > {at}) {_moved(kernel, 'store', 'float32', 'y', at, value)};"
    value = f"in_output_units({value}, q)" if kernel.activation else value
    return f"    if (rows > {at}) {_moved(kernel, 'store', 'uint8', 'y', at, f'requantized({value}, q)')};"


def _moved(kernel: IntegerVectorKernel, verb: str, dtype: str, place: str, at: str, *value: str) -> str:
    """C that loads or stores what belongs to one piece's rows, wherever they are."""
    kind = "bytes" if dtype == "uint8" else "some"
    if not kernel.scattered:
        return f"{verb}_{kind}({', '.join((f'{place} + {at}', *value, f'rows - {at}'))})"
    verb = {"load": "gather", "store": "scatter"}[verb]
    return f"{verb}_{kind}({', '.join((place, *value, f'numbers + {at}', f'rows - {at}'))})"


def _driver(kernel: IntegerVectorKernel) -> str:
    types = _types(kernel)
    first = "(size_t)start_of_panel * 4" if kernel.gathered else "start_of_panel"
    at = "" if kernel.scattered else " + row"
    constants = ", ".join(f"const {type_} *{name}" for type_, name in kernel.constants)
    cases = "\n".join(
        f"                case {v}: {kernel.name}_tile_{v}(columns + {first}, "
        f"column_start[panel + 1] - start_of_panel, weights + (size_t)start_of_panel * {kernel.rows}, "
        f"{_of_panel(kernel)}, x + from * x_stride, x_stride, y + from * y_stride{at}, y_stride, "
        f"residual + from * residual_stride{at}, residual_stride, q); break;"
        for v in range(1, kernel.vectors + 1)
    )
    return f"""
static void {kernel.name}(worker w, {constants}, int rows, int vectors,
                          int backwards, const uint8_t *x, ptrdiff_t x_stride, {types["output"]} *y,
                          ptrdiff_t y_stride, const {types["residual"]} *residual, ptrdiff_t residual_stride,
                          requantization q) {{
{panel_loops(kernel, "start_of_panel", cases)}}}
"""


def _of_panel(kernel: IntegerVectorKernel) -> str:
    """What a tile takes of its panel alone; words of places begin where those of no panel before can lie."""
    word = ""
    if kernel.segment:
        word = f"(size_t)(start_of_panel / {places_per_word(kernel.segment, PER_WORD)} + panel)"
    places = f"places + {word} * {kernel.rows}, " if kernel.segment else ""
    numbers = "numbers + row, " if kernel.scattered else ""
    return f"{places}start + row, scale + row, shift + row, {numbers}rows - row"
