"""C text of the sums of a panel by AMX (`amx.h`): the same for integers and bfloat16.

Sixteen columns of x at a time are gathered into tiles of 16 rows of lanes, which every 16 rows of the panel then use.
"""

from spokeshave.compiler.kernels.panel import Cells, column

TILE = 16  # rows of a tile, and words in each
TILE_WORDS = TILE * TILE
WEIGHT_TILES, LANE_TILES = (4, 5), (6, 7)  # tile registers 0 to 3 hold sums


def amx_sums(rows: int, vectors: int, dot: str) -> list[str]:
    """Sums of all rows in an array, a tile of rows by vectors after the other; the macro `dot` is the tile product."""
    tiles = range(rows // TILE)
    lines = [
        f"    _Alignas(64) int32_t columns_read[{vectors * TILE_WORDS}], sums[{len(tiles) * vectors * TILE_WORDS}];",
        *(f"    TILE_ZERO({sum_});" for sum_ in range(len(tiles) * vectors)),
        f"    for (int first = 0; first < count; first += {TILE}) {{",
        f"        for (int j = first, to = 0; j < first + {TILE}; j++, to += {TILE}) {{",
        *(f"    {line}" for line in column("int32_t", vectors)),
        *(
            f"            *(lanes_mask *)(columns_read + {v * TILE_WORDS} + to) = load_words(p + {v} * LANES);"
            for v in range(vectors)
        ),
        "        }",
        *(f"        TILE_LOAD({WEIGHT_TILES[t]}, weights + {t * TILE_WORDS});" for t in tiles),
    ]
    for v in range(vectors):
        x = LANE_TILES[v % len(LANE_TILES)]
        lines.append(f"        TILE_LOAD({x}, columns_read + {v * TILE_WORDS});")
        lines += [f"        {dot}({t * vectors + v}, {WEIGHT_TILES[t]}, {x});" for t in tiles]
    lines += [f"        weights += {rows * TILE};", "    }"]
    stored = range(len(tiles) * vectors)
    return [*lines, *(f"    TILE_STORE({tile}, sums + {tile * TILE_WORDS});" for tile in stored)]


def from_sums(tile: Cells, vectors: int, value: str) -> list[str]:
    """The accumulators as the epilogue reads them; `value` is C with {0} for the row and {1} for the sum's address."""
    return [
        f"    {value.format(r, v, f'sums + {(r // TILE * vectors + v) * TILE_WORDS + r % TILE * TILE}')}"
        for r, v in tile
    ]
