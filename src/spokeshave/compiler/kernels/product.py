"""C text of the product kernels: two matrices that are both computed at run time.

    out[i][lane] (+)= sum over j of left[i * row + j * step] * right[j * right_row + lane]

`left` may lie either way round, so scores (keys times queries), weighted sums of values and products of two values
are all this one kernel: `ROWS x VECTORS` accumulators stay in registers, scalars of `left` meet lanes of `right`. In
bfloat16, both are words of two numbers, and the sum runs over both of each.
"""

from spokeshave.compiler.kernels.instances import ProductKernel
from spokeshave.compiler.kernels.product_tiles import product_tiles_function


def _arguments(kernel: ProductKernel) -> str:
    element = "int32_t" if kernel.half else "float"
    left = f"const {element} *left, ptrdiff_t row, ptrdiff_t step"
    return f"{left}, const {element} *right, ptrdiff_t right_row, int depth, int add, float *out, ptrdiff_t out_row"


def product_function(kernel: ProductKernel) -> str:
    """C text of the driver with its register tiles: all rows at once, single rows for what is left."""
    if kernel.amx:
        return product_tiles_function(kernel)
    shapes = [(rows, v) for rows in dict.fromkeys((kernel.rows, 1)) for v in range(1, kernel.vectors + 1)]
    return "\n".join(_tile(kernel, rows, vectors) for rows, vectors in shapes) + _driver(kernel)


def _tile_name(kernel: ProductKernel, rows: int, vectors: int) -> str:
    return f"{kernel.name}_tile_{rows}_{vectors}"


def _tile(kernel: ProductKernel, rows: int, vectors: int) -> str:
    cells = [(r, v) for r in range(rows) for v in range(vectors)]
    lines = [
        f"    vector a{r}_{v} = add ? load(out + {r} * out_row + {v} * LANES) : splat(0.0f);"
        for r, v in cells
    ]
    lines.append("    for (int j = 0; j < depth; j++, left += step, right += right_row) {")
    lines += _pairs(rows, vectors) if kernel.half else _floats(rows, vectors)
    lines.append("    }")
    lines += [f"    store(out + {r} * out_row + {v} * LANES, a{r}_{v});" for r, v in cells]
    return (
        f"static void {_tile_name(kernel, rows, vectors)}({_arguments(kernel)}) {{\n"
        + "\n".join(lines)
        + "\n}\n"
    )


def _floats(rows: int, vectors: int) -> list[str]:
    lines = [f"        vector x{v} = load(right + {v} * LANES);" for v in range(vectors)]
    for r in range(rows):
        sums = " ".join(f"a{r}_{v} += f * x{v};" for v in range(vectors))
        lines.append(f"        {{ float f = left[{r} * row]; {sums} }}")
    return lines


def _pairs(rows: int, vectors: int) -> list[str]:
    lines = [f"        lanes_mask x{v} = load_words(right + {v} * LANES);" for v in range(vectors)]
    for r in range(rows):
        sums = " ".join(f"DOT_PAIRS(a{r}_{v}, x{v}, f);" for v in range(vectors))
        lines.append(f"        {{ lanes_mask f = splat_word(left[{r} * row]); {sums} }}")
    return lines


def _driver(kernel: ProductKernel) -> str:
    """Tiles of rows inside tiles of lanes; `vectors` of lanes are computed."""
    given = "row, step, right + t * LANES, right_row, depth, add, out + i * out_row + t * LANES, out_row"
    cases = "\n".join(
        f"            case {v}:\n"
        f"                for (; i + {kernel.rows} <= rows; i += {kernel.rows}) "
        f"{_tile_name(kernel, kernel.rows, v)}(left + i * row, {given});\n"
        f"                for (; i < rows; i++) {_tile_name(kernel, 1, v)}(left + i * row, {given});\n"
        "                break;"
        for v in range(1, kernel.vectors + 1)
    )
    return f"""
static void {kernel.name}({_arguments(kernel)}, int rows, int vectors) {{
    for (int t = 0; t < vectors;) {{
        int tiles = (vectors - t + {kernel.vectors - 1}) / {kernel.vectors}, width = (vectors - t + tiles - 1) / tiles;
        ptrdiff_t i = 0;
        switch (width) {{
{cases}
        }}
        t += width;
    }}
}}
"""
