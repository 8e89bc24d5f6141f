/* Winograd's algorithm F(4 x 4, 3 x 3) (Lavin and Gray, arXiv 1509.09308): a tile of 4 x 4 outputs reads 6 x 6 inputs; both
   and the 3 x 3 weights are transformed to 36 points, where a convolution is one product of matrices a point. The polynomials
   meet at 0, +-sqrt(1/2), +-sqrt(2) and infinity: products of these are powers of two, and rounding errors are a quarter of
   those of 0, +-1, +-2. Tiles are the lanes where inputs are transformed, channels where outputs and weights are. */
#define SQRT_HALF 0.70710678f
#define SQRT_TWO 1.41421356f

typedef struct {
    int channels, height, width, pitch, top, left; /* those that any block of outputs reads, their maps, and padding */
    int outputs, out_height, out_width, out_pitch, out_lanes;
    int tiles_y, tiles_x, group; /* rows and columns of tiles; rows at a time */
    int row, kept;               /* floats for the tiles of one point and channel; kernels of one pass, at most */
    ptrdiff_t plane, out_plane;
} winograd_shape;

/* Floats from point to point of the transformed inputs, weights and sums: an odd number of cache lines. */
INLINE ptrdiff_t winograd_inputs(const winograd_shape *s) { return (ptrdiff_t)s->channels * s->row + 16; }
INLINE ptrdiff_t winograd_sums(const winograd_shape *s, int block) { return (ptrdiff_t)s->group * s->tiles_x * block + 16; }
INLINE ptrdiff_t winograd_kernels(const winograd_shape *s, int block) { return (ptrdiff_t)s->kept * block + 16; }

/* One of the two axes of a tile: from 6 inputs to 6 points. */
INLINE void points_of_inputs(const vector x[6], vector v[6]) {
    vector a = x[4] - 2.0f * x[2], b = SQRT_HALF * (x[3] - 2.0f * x[1]);
    vector c = x[4] - 0.5f * x[2], d = SQRT_TWO * (x[3] - 0.5f * x[1]);
    v[0] = x[0] - 2.5f * x[2] + x[4];
    v[1] = a + b, v[2] = a - b;
    v[3] = c + d, v[4] = c - d;
    v[5] = x[1] - 2.5f * x[3] + x[5];
}

INLINE void points_of_weights(const vector g[3], float *u, ptrdiff_t step) {
    vector a = g[0] + 0.5f * g[2], b = g[0] + 2.0f * g[2];
    store(u, g[0]);
    store(u + step, a + SQRT_HALF * g[1]), store(u + 2 * step, a - SQRT_HALF * g[1]);
    store(u + 3 * step, b + SQRT_TWO * g[1]), store(u + 4 * step, b - SQRT_TWO * g[1]);
    store(u + 5 * step, g[2]);
}

INLINE void outputs_of_points(const vector m[6], vector *y, int step) {
    vector a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    y[0] = m[0] + (1.0f / 6) * (c - 4.0f * a);
    y[step] = (SQRT_TWO / 6) * (d - 2.0f * b);
    y[2 * step] = (1.0f / 3) * (c - a);
    y[3 * step] = (SQRT_TWO / 3) * (d - 0.5f * b) + m[5];
}

/* Room of one worker that transforms inputs, as `kernels/winograd.py` reserves it: lines of one channel, with their padding;
   the same in four parts, by columns; and the points along x of all lines. Lines lie in the order 0, 4, 8, ... 1, 5, 9, ...
   so that those which tiles below each other read as their first, as their second, ... are neighbours. */
typedef struct {
    float *lines, *columns, *points;
    ptrdiff_t part;
} winograd_room;
INLINE winograd_room room_at(const winograd_shape *s, float *at) {
    ptrdiff_t part = (ptrdiff_t)(4 * s->group + 2) * (s->tiles_x + 1) / LANES * LANES + 3 * LANES;
    return (winograd_room){at, at + 4 * part, at + 8 * part, part};
}
INLINE int line_of(int number, int rows) { return number % 4 * rows + (number % 4 < 2 ? number % 4 : 2) + number / 4; }

/* Lines that `rows` rows of tiles read, the first of which is `first`; each has 4 * (tiles_x + 1) positions. */
INLINE void padded_lines(const winograd_shape *s, const float *x, int first, int rows, float *line) {
    int length = 4 * (s->tiles_x + 1);
    for (int i = 0; i < 4; i++)
        for (int y = first + i; y < first + 4 * rows + 2; y += 4, line += length) {
            int inside = y >= 0 && y < s->height, end = inside ? s->left + s->width : 0;
            const float *from = x + (ptrdiff_t)y * s->pitch;
            for (int k = 0; k < (inside ? s->left : 0); k += LANES) store(line + k, splat(0.0f));
            for (int k = s->left; k < end; k += LANES) store(line + k, load(from + k - s->left));
            for (int k = end; k < length; k += LANES) store(line + k, splat(0.0f));
        }
}

/* Every fourth position of lines; one more a line than it has tiles, since the last one reads two further positions. */
INLINE void columns_of_lines(const float *lines, ptrdiff_t positions, float *columns, ptrdiff_t part) {
    for (ptrdiff_t at = 0; at < positions; at += LANES, lines += 4 * LANES, columns += LANES) {
        vector a = load(lines), b = load(lines + LANES), c = load(lines + 2 * LANES), d = load(lines + 3 * LANES);
        vector even0 = even(a, b), even1 = even(c, d), odd0 = odd(a, b), odd1 = odd(c, d);
        store(columns, even(even0, even1)), store(columns + 2 * part, odd(even0, even1));
        store(columns + part, even(odd0, odd1)), store(columns + 3 * part, odd(odd0, odd1));
    }
}

/* The points along x: [6][lines][tiles_x], line after line, each of which overwrites what the one before wrote too far. */
INLINE void points_of_columns(const winograd_shape *s, const float *columns, int lines, ptrdiff_t part, float *points) {
    for (; lines > 0; lines--, columns += s->tiles_x + 1, points += s->tiles_x)
        for (int at = 0; at < s->tiles_x; at += LANES) {
            vector x[6], v[6];
            for (int k = 0; k < 6; k++) x[k] = load(columns + k % 4 * part + at + k / 4);
            points_of_inputs(x, v);
            for (int k = 0; k < 6; k++) store(points + k * part + at, v[k]);
        }
}

/* The points of one channel's tiles, `rows` rows of them from `first` on: `to` is [points][channels][row]. */
static void winograd_input(const winograd_shape *s, const float *x, int first, int rows, float *room_of, float *to) {
    winograd_room room = room_at(s, room_of);
    ptrdiff_t point = winograd_inputs(s), part = room.part;
    int lines = 4 * rows + 2, at[6];
    padded_lines(s, x, 4 * first - s->top, rows, room.lines);
    columns_of_lines(room.lines, (ptrdiff_t)lines * (s->tiles_x + 1) + 1, room.columns, part);
    points_of_columns(s, room.columns, lines, part, room.points);
    for (int i = 0; i < 6; i++) at[i] = line_of(i, rows) * s->tiles_x;
    for (int tile = 0; tile < rows * s->tiles_x; tile += LANES)
        for (int j = 0; j < 6; j++) {
            vector y[6], v[6];
            for (int i = 0; i < 6; i++) y[i] = load(room.points + j * part + at[i] + tile);
            points_of_inputs(y, v);
            for (int i = 0; i < 6; i++) store(to + (6 * i + j) * point + tile, v[i]);
        }
}

/* Points in the order in which their weights are made: rows 0 and 5, 1 and 2, 3 and 4. */
INLINE int point_in_turn(int number) {
    static const int rows[] = {0, 5, 1, 2, 3, 4};
    return 6 * rows[number / 6] + number % 6;
}

/* Two rows of points of weights [channels][9][block]: 0 and 5, 1 and 2, or 3 and 4, which share what they read. */
INLINE void weight_rows(const float *w, int channels, int block, float a, float square, ptrdiff_t point, float *u) {
    for (int c = 0; c < channels; c++, w += 9 * block, u += block)
        for (int o = 0; o < block; o += LANES) {
            vector first[3], second[3];
            for (int k = 0; k < 3; k++) {
                vector g0 = load(w + k * block + o), g2 = load(w + (6 + k) * block + o);
                vector sum = g0 + square * g2, rest = a ? a * load(w + (3 + k) * block + o) : g2;
                first[k] = a ? sum + rest : g0, second[k] = a ? sum - rest : g2;
            }
            points_of_weights(first, u + o, point);
            points_of_weights(second, u + o + 6 * point, point);
        }
}
static void winograd_weights(int pair, const float *w, int channels, int block, ptrdiff_t point, float *u) {
    if (pair == 0) weight_rows(w, channels, block, 0.0f, 0.0f, point, u);
    if (pair == 1) weight_rows(w, channels, block, SQRT_HALF, 0.5f, point, u);
    if (pair == 2) weight_rows(w, channels, block, SQRT_TWO, 2.0f, point, u);
}

/* Four rows of outputs from the sums of `tiles` neighbours: [row][position], a vector of channels each. */
INLINE void winograd_output(const float *sums, ptrdiff_t point, int tiles, int block, vector out[4][LANES]) {
    for (int t = 0; t < LANES / 4; t++) {
        vector columns[4][6], m[6];
        for (int i = 0; i < 6; i++) {
            for (int j = 0; j < 6; j++) m[j] = t < tiles ? load(sums + (6 * i + j) * point + t * block) : splat(0.0f);
            outputs_of_points(m, &columns[0][i], 6);
        }
        for (int j = 0; j < 4; j++) outputs_of_points(columns[j], &out[0][4 * t + j], LANES);
    }
}
