"""C text of the Winograd kernels: convolutions of 3 x 3 with a quarter of the multiply-adds (`winograd.h`).

    inputs, group of tile rows after group      [36 points][channels that are read][tiles]
    weights, a block of outputs                 [points][kept channels][block]
    sums = inputs times weights, every point    [36 points][tiles][block]

Outputs are lanes: a scalar of the inputs meets vectors of weights, `tiles x vectors` accumulators stay in registers.
A block of outputs has weights for the channels that any of its outputs keeps a kernel of; it skips the others, and
reads nothing of them: the tiles of a channel lie beside each other. Channels that no block reads are not transformed.
Weights are transformed as they are used, into the cache: they are 36 numbers then instead of 9, which would come from
beyond it, while what makes them costs as much as two tiles do. The team meets when the inputs of a group are there;
then workers share out blocks of outputs, and spans of tiles where there are too few of these.
"""

from itertools import product

from spokeshave.compiler.kernels.instances import WinogradKernel
from spokeshave.compiler.kernels.panel import finished

TEAM = 8  # workers at most: each has points of weights and sums of its own
DEFINITIONS = f"#define WINOGRAD_TEAM {TEAM}\n"


def scratch_floats(
    channels: int, columns: int, group: int, row: int, block: int, kept: int, lanes: int
) -> int:
    """Room for the points of a group's inputs, and of every worker for what `winograd.h` makes them in and for sums.

    From point to point it is an odd number of cache lines, as in `winograd.h`.
    """
    part = (4 * group + 2) * (columns + 1) // lanes * lanes + 3 * lanes
    sums = 12 * (kept * block + 16) + 36 * (group * columns * block + 16)
    return 36 * (channels * row + 16) + TEAM * (14 * part + sums)


def winograd_function(kernel: WinogradKernel) -> str:
    """C text of one driver with its register tiles: tiles, tiles - 1, ... 1."""
    widths = range(kernel.tiles, 0, -1)
    calls = "\n".join(
        f"        case {n}: {kernel.name}_tile_{n}(v, then, channels, u, m, kept, add, ahead); break;"
        for n in widths
    )
    value = "pooled[i][k] + bias[k]" if kernel.pooled else "out[i][k] + bias[k]"
    names = {
        "NAME": kernel.name, "BLOCK": f"({kernel.vectors} * LANES)", "MOST": kernel.tiles, "CALLS": calls,
        "FINISHED": finished(kernel.epilogue, value, "residual + at"),
    }  # fmt: skip
    rows = _POOLED_ROWS if kernel.pooled else _ROWS
    text = "\n".join(_tile(kernel, tiles) for tiles in widths) + _SUMS + rows + _DRIVER
    for name, meaning in names.items():
        text = text.replace(name, str(meaning))
    return text


def _tile(kernel: WinogradKernel, tiles: int) -> str:
    """Sums of neighbouring tiles; weights further on are asked for, a cache line for every two channels."""
    vectors = range(kernel.vectors)
    cells = list(product(range(tiles), vectors))
    lines = [
        f"    vector a{t}_{o} = add ? load(m + {t} * BLOCK + {o} * LANES) : splat(0.0f);" for t, o in cells
    ]
    lines += [
        "    for (int c = 0; c < kept; c++, u += BLOCK) {",
        "        const float *from = v + channels[c];",
        "        __builtin_prefetch(ahead + c * BLOCK, 0, 2);",
        "        __builtin_prefetch(from + next), __builtin_prefetch(from + next + MOST - 1);",
    ]
    lines += [f"        vector w{o} = load(u + {o} * LANES);" for o in vectors]
    for t in range(tiles):
        added = " ".join(f"a{t}_{o} += f * w{o};" for o in vectors)
        lines.append(f"        {{ float f = from[{t}]; {added} }}")
    lines += ["    }", *(f"    store(m + {t} * BLOCK + {o} * LANES, a{t}_{o});" for t, o in cells)]
    places = "const float *v, ptrdiff_t next, const int32_t *channels, const float *u, float *m"
    arguments = f"{places}, int kept, int add, const char *ahead"
    return f"static void {kernel.name}_tile_{tiles}({arguments}) {{\n" + "\n".join(lines) + "\n}"


_SUMS = """
/* The sums of one point; `next` floats further are the inputs of the next one. */
static void NAME_tiles(const float *v, ptrdiff_t next, const int32_t *channels, const float *u, float *m, int tiles,
                       int kept, int add, const char *ahead) {
    for (int done = 0; tiles > 0;) {
        int parts = (tiles + MOST - 1) / MOST, n = (tiles + parts - 1) / parts;
        ptrdiff_t then = tiles > n ? n : next - done;
        switch (n) {
CALLS
        }
        tiles -= n, done += n, v += n, m += n * BLOCK;
    }
}

/* All sums of a block of outputs, which keeps `kept` kernels: of whole rows of tiles, or of a span of each. */
static void NAME_sums(const winograd_shape *s, const float *weights, const int32_t *channels, int kept,
                      const float *inputs, float *points, float *sums, range span, int rows) {
    ptrdiff_t point = winograd_inputs(s), kernels = winograd_kernels(s, BLOCK), to = winograd_sums(s, BLOCK);
    int together = span.to - span.from == s->tiles_x, tiles = together ? rows * s->tiles_x : span.to - span.from;
    for (int c = 0; c < kept || c == 0; c += s->kept) {
        int left = kept - c, now = left < s->kept ? left : s->kept;
        const float *from = weights + (ptrdiff_t)c * 9 * BLOCK;
        for (int pair = 0; pair < 3; pair++) {
            winograd_weights(pair, from, now, BLOCK, kernels, points);
            for (int j = 0; j < 12; j++) {
                int p = point_in_turn(12 * pair + j), then = point_in_turn((12 * pair + j + 1) % 36);
                const char *ahead = (const char *)(from + now * 9 * BLOCK) + (12 * pair + j) * now * BLOCK;
                for (int row = 0; row < (together ? 1 : rows); row++) {
                    ptrdiff_t at = (ptrdiff_t)row * s->tiles_x + span.from;
                    NAME_tiles(inputs + p * point + at, (then - p) * point, channels + c, points + j * kernels,
                               sums + p * to + at * BLOCK, tiles, now, c > 0, ahead);
                }
            }
        }
    }
}

"""

_ROWS = """
/* Rows of outputs of one vector of channels, gaps included. */
static void NAME_rows(const winograd_shape *s, const float *sums, range span, int first, int rows, int channel,
                      const float *bias, float *y, const float *residual) {
    int left = s->outputs - channel, channels = left < LANES ? left : LANES;
    int end = span.to == s->tiles_x ? s->out_pitch : 4 * span.to;
    for (int row = 0; row < rows; row++)
        for (int x = 4 * span.from; x < end; x += LANES) {
            ptrdiff_t tile = (ptrdiff_t)row * s->tiles_x + x / 4;
            int wide = end - x, inside = s->out_width - x;
            vector out[4][LANES];
            lanes_mask mask;
            for (int i = 0; i < LANES; i++) mask[i] = -(i < inside);
            for (int i = 0; i < 4; i++)
                for (int k = 0; k < channels; k++)
                    __builtin_prefetch(y + k * s->out_plane + (ptrdiff_t)(4 * (first + row) + i) * s->out_pitch + x, 1);
            winograd_output(sums + tile * BLOCK, winograd_sums(s, BLOCK), span.to - x / 4, BLOCK, out);
            for (int i = 0; i < 4; i++) {
                int line = 4 * (first + row) + i;
                if (line >= s->out_height) break;
                transpose(out[i]);
                for (int k = 0; k < channels; k++) {
                    ptrdiff_t at = k * s->out_plane + (ptrdiff_t)line * s->out_pitch + x;
                    vector value = FINISHED;
                    store_part(y + at, (vector)((lanes_mask)value & mask), wide);
                }
            }
        }
    int last = s->out_height * s->out_pitch, more = s->out_lanes - last;
    if (4 * (first + rows) >= s->out_height && span.to == s->tiles_x)
        for (int k = 0; k < channels; k++) memset(y + k * s->out_plane + last, 0, (size_t)more * sizeof(float));
    (void)residual;
}

"""

_POOLED_ROWS = """
/* Rows of the largest of every two by two outputs of one vector of channels; true elements alone. */
static void NAME_rows(const winograd_shape *s, const float *sums, range span, int first, int rows, int channel,
                      const float *bias, float *y, const float *residual) {
    int left = s->outputs - channel, channels = left < LANES ? left : LANES;
    int end = 2 * span.to < s->out_width ? 2 * span.to : s->out_width;
    for (int row = 0; row < rows; row++)
        for (int x = 2 * span.from; x < end; x += LANES) {
            vector pooled[2][LANES];
            for (int half = 0; half < 2; half++) {
                vector out[4][LANES];
                int tile = x / 2 + half * LANES / 4;
                const float *from = sums + ((ptrdiff_t)row * s->tiles_x + tile) * BLOCK;
                winograd_output(from, winograd_sums(s, BLOCK), span.to - tile, BLOCK, out);
                for (int i = 0; i < 2; i++)
                    for (int k = 0; k < LANES / 2; k++) {
                        vector above = larger(out[2 * i][2 * k], out[2 * i][2 * k + 1]);
                        vector below = larger(out[2 * i + 1][2 * k], out[2 * i + 1][2 * k + 1]);
                        pooled[i][half * LANES / 2 + k] = larger(above, below);
                    }
            }
            for (int i = 0; i < 2; i++) {
                int line = 2 * (first + row) + i;
                if (line >= s->out_height) break;
                transpose(pooled[i]);
                for (int k = 0; k < channels; k++)
                    store_part(y + k * s->out_plane + (ptrdiff_t)line * s->out_pitch + x, FINISHED, end - x);
            }
        }
    (void)residual;
}
"""

_DRIVER = """
static void NAME(worker w, winograd_shape s, const float *weights, const int32_t *channels, const int32_t *starts,
                 const int32_t *read, const float *bias, const float *x, float *y, const float *residual,
                 float *scratch) {
    int blocks = (s.outputs + BLOCK - 1) / BLOCK, segments = (4 * s.tiles_x + LANES - 1) / LANES;
    int team = w.count < WINOGRAD_TEAM ? w.count : WINOGRAD_TEAM, parts = (team + blocks - 1) / blocks;
    ptrdiff_t kernels = 12 * winograd_kernels(&s, BLOCK), room = 14 * room_at(&s, scratch).part;
    float *own = scratch + 36 * winograd_inputs(&s) + w.index * (room + kernels + 36 * winograd_sums(&s, BLOCK));
    float *points = own + room, *sums = points + kernels;
    if (parts > segments) parts = segments;
    range turn = {0, 0}, items = {0, 0};
    if (w.index < team) {
        turn = share((worker){w.index, team}, s.channels);
        items = share((worker){w.index, team}, blocks * parts);
    }
    for (int first = 0; first < s.tiles_y; first += s.group) {
        int left = s.tiles_y - first, rows = left < s.group ? left : s.group;
        for (int i = turn.from; i < turn.to; i++)
            winograd_input(&s, x + read[i] * s.plane, first, rows, own, scratch + (ptrdiff_t)i * s.row);
        barrier(w);
        for (int item = items.from; item < items.to; item++) {
            range part = share((worker){item % parts, parts}, segments);
            range span = {part.from * LANES / 4, part.to * LANES / 4};
            int start = starts[item / parts], output = item / parts * BLOCK;
            if (span.to > s.tiles_x) span.to = s.tiles_x;
            NAME_sums(&s, weights + (ptrdiff_t)start * 9 * BLOCK, channels + start, starts[item / parts + 1] - start,
                      scratch, points, sums, span, rows);
            for (ptrdiff_t c = output; c < s.outputs && c < output + BLOCK; c += LANES)
                NAME_rows(&s, sums + c - output, span, first, rows, (int)c, bias + c, y + c * s.out_plane,
                          residual + c * s.out_plane);
        }
        barrier(w);
    }
}
"""
