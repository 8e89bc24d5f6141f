"""C text of the sums of a panel by AMX (`amx.h`): the same for integers and bfloat16.

Sixteen columns of x at a time are gathered into tiles of 16 rows of lanes, which every 16 rows of the panel then use.
They are gathered ahead of their use, because a tile load waits for stores that are still under way.
"""

from spokeshave.compiler.kernels.panel import Cells, column

TILE = 16  # rows of a tile, and words in each
TILE_WORDS = TILE * TILE
WEIGHT_TILES, LANE_TILES = (4, 5), (6, 7)  # tile registers 0 to 3 hold sums
SLOTS, AHEAD = 4, 3  # of gathered tiles


def amx_sums(rows: int, vectors: int, dot: str) -> list[str]:
    """Sums of all rows in an array, a tile of rows by vectors after the other; the macro `dot` is the tile product."""
    tiles, slot = range(rows // TILE), vectors * TILE_WORDS
    sums = range(len(tiles) * vectors)
    return [
        f"    _Alignas(64) int32_t gathered[{SLOTS * slot}], sums[{len(sums) * TILE_WORDS}];",
        *(f"    TILE_ZERO({tile});" for tile in sums),
        f"    for (int first = {-AHEAD * TILE}; first < count; first += {TILE}) {{",
        f"        int coming = first + {AHEAD * TILE}, stop = coming < count ? coming + {TILE} : 0;",
        f"        int32_t *to = gathered + coming / {TILE} % {SLOTS} * {slot};",
        f"        for (int j = coming; j < stop; j++, to += {TILE}) {{",
        *(f"    {line}" for line in column("int32_t", vectors)),
        *(
            f"            *(lanes_mask *)(to + {v * TILE_WORDS}) = load_words(p + {v} * LANES);"
            for v in range(vectors)
        ),
        "        }",
        "        if (first < 0) continue;",
        f"        const int32_t *ready = gathered + first / {TILE} % {SLOTS} * {slot};",
        *(f"        TILE_LOAD({WEIGHT_TILES[t]}, weights + {t * TILE_WORDS});" for t in tiles),
        *(line for v in range(vectors) for line in _products(v, vectors, tiles, dot)),
        f"        weights += {rows * TILE};",
        "    }",
        *(f"    TILE_STORE({tile}, sums + {tile * TILE_WORDS});" for tile in sums),
    ]


def _products(vector: int, vectors: int, tiles: range, dot: str) -> list[str]:
    """One tile of x with every tile of weights."""
    x = LANE_TILES[vector % len(LANE_TILES)]
    products = [f"        {dot}({t * vectors + vector}, {WEIGHT_TILES[t]}, {x});" for t in tiles]
    return [f"        TILE_LOAD({x}, ready + {vector * TILE_WORDS});", *products]


def from_sums(tile: Cells, vectors: int, value: str) -> list[str]:
    """The accumulators as the epilogue reads them; `value` is C with {0} for the row and {1} for the sum's address."""
    return [
        f"    {value.format(r, v, f'sums + {(r // TILE * vectors + v) * TILE_WORDS + r % TILE * TILE}')}"
        for r, v in tile
    ]
