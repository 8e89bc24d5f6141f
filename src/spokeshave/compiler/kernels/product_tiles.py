"""C text of the product kernel in tile registers: both matrices in words of two bfloat16 numbers.

The contract is that of `product.py`, but rows of `left` lie with their words side by side, and rows and depth are whole
tiles: what fills them up is zero. Two tiles of rows meet two of lanes, which takes all eight registers.
"""

from itertools import product

from spokeshave.compiler.kernels.amx import LANE_TILES, TILE, WEIGHT_TILES
from spokeshave.compiler.kernels.instances import ProductKernel

_GIVEN = (
    "const int32_t *left, ptrdiff_t row, {}const int32_t *right, ptrdiff_t right_row, int depth, int add, "
    "float *out, ptrdiff_t out_row"
)


def product_tiles_function(kernel: ProductKernel) -> str:
    """C text of the driver with its register tiles."""
    shapes = [(rows, vectors) for rows in (1, 2) for vectors in (1, 2)]
    given = "left + i * row, row, right + t * LANES, right_row, depth, add, out + i * out_row + t * LANES, out_row"
    cases = "\n".join(
        f"                case {rows * 2 + vectors}: {kernel.name}_{rows}_{vectors}({given}); break;"
        for rows, vectors in shapes
    )
    return (
        "".join(_tile(kernel, *shape) for shape in shapes)
        + f"""
static void {kernel.name}({_GIVEN.format("ptrdiff_t step, ")}, int rows, int vectors) {{
    (void)step;
    for (int t = 0; t < vectors; t += 2)
        for (int i = 0; i < rows; i += 2 * TILE)
            switch ((rows - i > TILE ? 2 : 1) * 2 + (vectors - t > 1 ? 2 : 1)) {{
{cases}
            }}
}}
"""
    )


def _tile(kernel: ProductKernel, rows: int, vectors: int) -> str:
    cells = list(product(range(rows), range(vectors)))
    there = {
        (r, v): f"TILE_{{}}({r * vectors + v}, out + {r * TILE} * out_row + {v} * LANES, 4 * out_row);"
        for r, v in cells
    }
    load = " ".join(line.format("LOAD") for line in there.values())
    store = "\n    ".join(line.format("STORE_ROWS") for line in there.values())
    zero = " ".join(f"TILE_ZERO({r * vectors + v});" for r, v in cells)
    left = " ".join(
        f"TILE_LOAD({WEIGHT_TILES[r]}, left + {r * TILE} * row + j, 4 * row);" for r in range(rows)
    )
    right = " ".join(
        f"TILE_LOAD({LANE_TILES[v]}, right + j * right_row + {v} * LANES, 4 * right_row);"
        for v in range(vectors)
    )
    dots = " ".join(
        f"TILE_DOT_PAIRS({r * vectors + v}, {WEIGHT_TILES[r]}, {LANE_TILES[v]});" for r, v in cells
    )
    return f"""
static void {kernel.name}_{rows}_{vectors}({_GIVEN.format("")}) {{
    if (add) {{
        {load}
    }} else {{
        {zero}
    }}
    for (int j = 0; j < depth; j += TILE) {{
        {left}
        {right}
        {dots}
    }}
    {store}
}}
"""
