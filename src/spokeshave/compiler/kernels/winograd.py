"""C text of the Winograd kernels: convolutions of 3 x 3 with a quarter of the multiply-adds (`winograd.h`).

    inputs, group of tile rows after group      [depths][36 points][tiles][depth channels]
    weights, a block of outputs and a depth     [points][kept channels][block]
    sums = inputs times weights, every point    [36 points][tiles][block]

Outputs are lanes: a scalar of the inputs meets vectors of weights, `tiles x vectors` accumulators stay in registers.
A block of outputs has weights for the channels that any of its outputs keeps a kernel of; it skips the others.
Weights are transformed as they are used, into the cache: they are 36 numbers then instead of 9, which would come from
beyond it, while what makes them costs as much as two tiles do. The team meets when the inputs of a group are there;
then workers share out blocks of outputs, and spans of tiles where there are too few of these.
"""

from itertools import product

from spokeshave.compiler.kernels.instances import WinogradKernel
from spokeshave.compiler.kernels.panel import finished

TEAM = 8  # workers at most: each has points of weights and sums of its own
DEFINITIONS = f"#define WINOGRAD_TEAM {TEAM}\n"


def scratch_floats(channels: int, tiles: int, block: int, depth: int, kept: int) -> int:
    """Room for the points of `tiles` tiles of inputs, and for every worker's points of weights and sums.

    From point to point it is an odd number of cache lines, as in `winograd.h`.
    """
    inputs = -(-channels // depth) * 36 * (tiles * depth + 16)
    return inputs + TEAM * (12 * (kept * block + 16) + 36 * (tiles * block + 16))


def winograd_function(kernel: WinogradKernel) -> str:
    """C text of one driver with its register tiles: tiles, tiles - 1, ... 1."""
    widths = range(kernel.tiles, 0, -1)
    calls = "\n".join(
        f"        case {n}: {kernel.name}_tile_{n}(v, channels, u, m, kept, add, ahead); break;"
        for n in widths
    )
    names = {
        "NAME": kernel.name, "BLOCK": f"({kernel.vectors} * LANES)", "MOST": kernel.tiles, "DEPTH": kernel.depth,
        "CALLS": calls,
        "FINISHED": finished(kernel.epilogue, "out[i][k] + bias[k]", "residual + at"),
    }  # fmt: skip
    text = "\n".join(_tile(kernel, tiles) for tiles in widths) + _TEXT
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
    ]
    lines += [f"        vector w{o} = load(u + {o} * LANES);" for o in vectors]
    for t in range(tiles):
        added = " ".join(f"a{t}_{o} += f * w{o};" for o in vectors)
        lines.append(f"        {{ float f = from[{t} * DEPTH]; {added} }}")
    lines += ["    }", *(f"    store(m + {t} * BLOCK + {o} * LANES, a{t}_{o});" for t, o in cells)]
    places = "const float *v, const int32_t *channels, const float *u, float *m"
    arguments = f"{places}, int kept, int add, const char *ahead"
    return f"static void {kernel.name}_tile_{tiles}({arguments}) {{\n" + "\n".join(lines) + "\n}"


_TEXT = """
/* The sums of one point. */
static void NAME_tiles(const float *v, const int32_t *channels, const float *u, float *m, int tiles, int kept, int add,
                       const char *ahead) {
    while (tiles > 0) {
        int parts = (tiles + MOST - 1) / MOST, n = (tiles + parts - 1) / parts;
        switch (n) {
CALLS
        }
        tiles -= n, v += n * DEPTH, m += n * BLOCK;
    }
}

/* All sums of a block of outputs: of whole rows of tiles, or of a span of each. `starts` are the block's own. */
static void NAME_sums(const winograd_shape *s, const float *weights, const int32_t *channels, const int32_t *starts,
                      const float *inputs, float *points, float *sums, range span, int rows) {
    ptrdiff_t point = winograd_inputs(s), kernels = winograd_kernels(s, BLOCK), to = winograd_sums(s, BLOCK);
    int together = span.to - span.from == s->tiles_x, tiles = together ? rows * s->tiles_x : span.to - span.from;
    for (int c = 0; c < s->channels; c += DEPTH, inputs += 36 * point, starts++) {
        int kept = starts[1] - starts[0];
        if (kept == 0 && c > 0) continue;
        const float *from = weights + (ptrdiff_t)starts[0] * 9 * BLOCK;
        for (int pair = 0; pair < 3; pair++) {
            winograd_weights(pair, from, kept, BLOCK, kernels, points);
            for (int j = 0; j < 12; j++) {
                int p = 6 * (pair == 0 ? j / 6 * 5 : 2 * pair - 1 + j / 6) + j % 6;
                const char *ahead = (const char *)(from + kept * 9 * BLOCK) + (12 * pair + j) * kept * BLOCK;
                for (int row = 0; row < (together ? 1 : rows); row++) {
                    ptrdiff_t at = (ptrdiff_t)row * s->tiles_x + span.from;
                    NAME_tiles(inputs + p * point + at * DEPTH, channels + starts[0], points + j * kernels,
                               sums + p * to + at * BLOCK, tiles, kept, c > 0, ahead);
                }
            }
        }
    }
}

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

static void NAME(worker w, winograd_shape s, const float *weights, const int32_t *channels, const int32_t *starts,
                 const float *bias, const float *x, float *y, const float *residual, float *scratch) {
    int vectors = (s.channels + LANES - 1) / LANES, depths = (s.channels + DEPTH - 1) / DEPTH;
    int blocks = (s.outputs + BLOCK - 1) / BLOCK, segments = (4 * s.tiles_x + LANES - 1) / LANES;
    int team = w.count < WINOGRAD_TEAM ? w.count : WINOGRAD_TEAM, parts = (team + blocks - 1) / blocks;
    ptrdiff_t depth = 36 * winograd_inputs(&s);
    ptrdiff_t kernels = 12 * winograd_kernels(&s, BLOCK);
    float *own = scratch + depths * depth + w.index * (kernels + 36 * winograd_sums(&s, BLOCK)), *sums = own + kernels;
    if (parts > segments) parts = segments;
    range turn = share(w, vectors), items = {0, 0};
    if (w.index < team) items = share((worker){w.index, team}, blocks * parts);
    for (int first = 0; first < s.tiles_y; first += s.group) {
        int left = s.tiles_y - first, rows = left < s.group ? left : s.group;
        for (int i = turn.from; i < turn.to; i++) {
            int channel = i * LANES;
            float *to = scratch + channel / DEPTH * depth + channel % DEPTH;
            winograd_input(&s, x, channel, first, rows, to);
        }
        barrier(w);
        for (int item = items.from; item < items.to; item++) {
            range part = share((worker){item % parts, parts}, segments);
            range span = {part.from * LANES / 4, part.to * LANES / 4};
            ptrdiff_t output = item / parts * BLOCK;
            if (span.to > s.tiles_x) span.to = s.tiles_x;
            NAME_sums(&s, weights, channels, starts + item / parts * depths, scratch, own, sums, span, rows);
            for (ptrdiff_t c = output; c < s.outputs && c < output + BLOCK; c += LANES)
                NAME_rows(&s, sums + c - output, span, first, rows, (int)c, bias + c, y + c * s.out_plane,
                          residual + c * s.out_plane);
        }
        barrier(w);
    }
}
"""
