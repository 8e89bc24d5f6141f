"""C text of panel kernels whose sums are made by AMX (`amx.h`): the same for integers and bfloat16.

Sixteen columns of x at a time are a tile of 16 rows of lanes, which every 16 rows of the panel then use. Columns that
lie equally far apart, as neighbouring channels of one tap do, are loaded where they are; others are gathered.

Three things go on at once, each on units of its own: columns are gathered some steps ahead of their use (a tile load
waits for stores that are still under way), tiles are multiplied, and the sums before them are finished, some rows a
step. So one loop goes over all tiles of columns of all panels, and two cursors over the same order say where gathering
and multiplying are. Weights further on are prefetched in equal parts, because every tile of lanes uses those that are
there again, and they come all at once from beyond the level-2 cache otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

TILE = 16  # rows of a tile, and words in each
TILE_WORDS = TILE * TILE
WEIGHT_TILES, LANE_TILES = (4, 5), (6, 7)  # tile registers 0 to 3 hold sums
SLOTS, AHEAD = 4, 3  # of gathered tiles
WEIGHTS_AHEAD = (
    5  # tiles of columns; 3 to 10 are as fast, none 1.06 times slower where weights exceed level 2
)


@dataclass(frozen=True)
class TileText:
    """What the kernels of integers and of bfloat16 differ in.

    `dot` is the macro of the tile product. `arguments` are those of the driver behind the worker. Sums are finished
    `unit` rows at a time by a function that takes `by_row`: arrays with a number for so many rows each; `by_lane`:
    arrays that lie like the output; and `whole`, all with their types. `value` is C of one accumulator, with {0} for
    the row, {1} for the vector and {2} for the sum's address, and `stores` makes C that stores those of one vector.
    """

    dot: str
    arguments: str
    by_row: Mapping[str, int]
    by_lane: tuple[str, ...]
    whole: tuple[str, ...]
    unit: int
    value: str
    stores: Callable[[int], list[str]]

    @property
    def names(self) -> str:
        """The driver's arguments as they are passed on."""
        return ", ".join(map(_name, self.arguments.split(", ")))

    @property
    def finished(self) -> tuple[str, ...]:
        """What the function that finishes sums takes."""
        return (*self.by_row, *self.by_lane, *self.whole)

    def places(self, row: str, lane: str) -> list[str]:
        """The same for a row, counted through all panels, and a lane."""
        rows = [f"{_name(array)} + {row} / {each}" for array, each in self.by_row.items()]
        return [*rows, *(f"{_name(array)} + {lane}" for array in self.by_lane), *map(_name, self.whole)]


def _name(argument: str) -> str:
    return argument.split()[-1].lstrip("*")


def amx_function(name: str, rows: int, vectors: int, text: TileText) -> str:
    """C of the driver and of its runs over tiles of every width."""
    widths = range(1, vectors + 1)
    runs = "\n".join(_finish(name, width, text) + _run(name, rows, width, text) for width in widths)
    call = f"{name}_run_{{}}({text.names}, own, {{}})"
    whole = call.format(vectors, f"from, (to - from) / {vectors}")
    rest = "\n".join(
        f"            case {width}: {call.format(width, f'to - {width}, 1')}; break;" for width in widths[:-1]
    )
    return f"""{runs}
static void {name}(worker w, {text.arguments}) {{
    range lanes = share(by_lanes ? w : ALONE, vectors);
    range own = share_panels(by_lanes ? ALONE : w, column_start, panels);
    begin_tiles();
    for (int from = lanes.from; from < lanes.to; from += chunk) {{
        int to = from + chunk < lanes.to ? from + chunk : lanes.to;
        if (to - from >= {vectors}) {whole};
        switch ((to - from) % {vectors}) {{
{rest}
        }}
    }}
    end_tiles();
}}
"""


def _finish(name: str, vectors: int, text: TileText) -> str:
    """C of a function that takes rows from sums to what is stored; its registers are not those of the loop of tiles."""
    made = [
        text.value.format(row, vector, f"made + {vector * TILE_WORDS + row * TILE}")
        for row in range(text.unit)
        for vector in range(vectors)
    ]
    stores = [line.strip() for vector in range(vectors) for line in text.stores(vector)]
    steps = [f"{_name(array)} += {text.unit // each};" for array, each in text.by_row.items()]
    body = "\n".join(f"        {line}" for line in (*made, *stores, *steps))
    unused = " ".join(f"(void){_name(argument)};" for argument in text.finished)
    return f"""
NOT_INLINE void {name}_finish_{vectors}(const int32_t *sums, int row, int until, {", ".join(text.finished)}) {{
    for (; row < until; row += {text.unit}) {{
        const int32_t *made = sums + row / TILE * {vectors * TILE_WORDS} + row % TILE * TILE;
{body}
    }}
    {unused}
}}
"""


def _run(name: str, rows: int, vectors: int, text: TileText) -> str:
    """C of a function that goes over all tiles of its panels, each so many times with the next lanes."""
    tiles, slot, units = range(rows // TILE), vectors * TILE_WORDS, rows // text.unit
    sums = range(len(tiles) * vectors)
    lane = f"(from + before.tile * {vectors}) * LANES"
    places = ", ".join(text.places(f"(before.panel * {rows} + row)", lane))
    zero = " ".join(f"TILE_ZERO({tile});" for tile in sums)
    weights = " ".join(f"TILE_LOAD({WEIGHT_TILES[t]}, a + {t * TILE_WORDS}, VECTOR_BYTES);" for t in tiles)
    products = "\n".join(line for v in range(vectors) for line in _products(v, vectors, tiles, text.dot))
    stores = " ".join(f"TILE_STORE({tile}, sums + {tile * TILE_WORDS});" for tile in sums)
    return f"""
static void {name}_run_{vectors}({text.arguments}, range own, int from, int tiles) {{
    _Alignas(64) int32_t gathered[{SLOTS * slot}], sums[{len(sums) * TILE_WORDS}];
    tile_cursor coming = first_tile(own.from, column_start), now = coming, before = coming;
    int steps = tiles * (column_start[own.to] - column_start[own.from]) / TILE, row = {rows};
    for (int step = {-AHEAD}; step <= steps; step++) {{
        int ahead = step + {AHEAD};
        if (ahead < steps) {{
            const char *from_here = x + (from + coming.tile * {vectors}) * VECTOR_BYTES;
            if (!strides[coming.column / TILE])
                gather_columns_{vectors}(from_here, columns + coming.column, gathered + ahead % {SLOTS} * {slot});
            next_tile(&coming, column_start, tiles);
        }}
        if (step < 0) continue;
        int last = step == steps || is_last_tile(now, column_start);
        if (step < steps) {{
            long apart = strides[now.column / TILE], width = apart ? VECTOR_BYTES : {TILE_WORDS * 4};
            const char *there = (const char *)(gathered + step % {SLOTS} * {slot});
            if (apart) there = x + (from + now.tile * {vectors}) * VECTOR_BYTES + columns[now.column];
            if (!apart) apart = VECTOR_BYTES;
            const int32_t *a = weights + (size_t)now.column * {rows};
            if (now.column == column_start[now.panel]) {{ {zero} }}
            prefetch_part(a + {WEIGHTS_AHEAD * TILE * rows}, {rows}, now.tile, tiles);
            {weights}
{products}
        }}
        int rows_now = last ? {rows} : rows_of_step(row, {units}, {text.unit}, now, column_start);
        if (row < rows_now) {name}_finish_{vectors}(sums, row, rows_now, {places});
        row = rows_now;
        if (step < steps && last) {{
            {stores}
            before = now;
            row = 0;
        }}
        if (step < steps) next_tile(&now, column_start, tiles);
    }}
}}
"""


def _products(vector: int, vectors: int, tiles: range, dot: str) -> list[str]:
    """One tile of x with every tile of weights."""
    x = LANE_TILES[vector % len(LANE_TILES)]
    products = " ".join(f"{dot}({t * vectors + vector}, {WEIGHT_TILES[t]}, {x});" for t in tiles)
    return [f"            TILE_LOAD({x}, there + {vector} * width, apart);", f"            {products}"]
