/* Winograd's algorithm F(4 x 4, 3 x 3) (Lavin and Gray, arXiv 1509.09308): a tile of 4 x 4 outputs reads 6 x 6 inputs; both
   and the 3 x 3 weights are transformed to 36 points, where a convolution is one product of matrices a point. The polynomials
   meet at 0, +-sqrt(1/2), +-sqrt(2) and infinity: products of these are powers of two, and rounding errors are a quarter of
   those of 0, +-1, +-2. Channels are the lanes of every transform. */
#define WINOGRAD_SPAN 16 /* tiles beside each other whose inputs are turned together */
#define SQRT_HALF 0.70710678f
#define SQRT_TWO 1.41421356f

typedef struct {
    int channels, height, width, pitch, top, left; /* what is read, and its padding */
    int outputs, out_height, out_width, out_pitch, out_lanes;
    int tiles_y, tiles_x, group; /* rows and columns of tiles; rows at a time */
    int depth, kept;             /* channels of one pass, and how many of them a block of outputs has weights for, at most */
    ptrdiff_t plane, out_plane;
} winograd_shape;

/* Floats from point to point of the transformed inputs, weights and sums: an odd number of cache lines. */
INLINE ptrdiff_t winograd_inputs(const winograd_shape *s) { return (ptrdiff_t)s->group * s->tiles_x * s->depth + 16; }
INLINE ptrdiff_t winograd_sums(const winograd_shape *s, int block) { return (ptrdiff_t)s->group * s->tiles_x * block + 16; }
INLINE ptrdiff_t winograd_kernels(const winograd_shape *s, int block) { return (ptrdiff_t)s->kept * block + 16; }

INLINE void points_of_inputs(const vector x[6], vector *v, int step) {
    vector a = x[4] - 2.0f * x[2], b = SQRT_HALF * (x[3] - 2.0f * x[1]);
    vector c = x[4] - 0.5f * x[2], d = SQRT_TWO * (x[3] - 0.5f * x[1]);
    v[0] = x[0] - 2.5f * x[2] + x[4];
    v[step] = a + b, v[2 * step] = a - b;
    v[3 * step] = c + d, v[4 * step] = c - d;
    v[5 * step] = x[1] - 2.5f * x[3] + x[5];
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

/* `count` positions of row y from column `start` on, padding included, one vector of channels each. */
static void turned_row(const winograd_shape *s, const float *x, int channel, int y, int start, int count, vector *to) {
    int end = s->width - start < count ? s->width - start : count, k = 0;
    if (y < 0 || y >= s->height) end = 0;
    for (; k < end && start + k < 0; k++) to[k] = splat(0.0f);
    while (k < end) {
        const float *at = x + channel * s->plane + (ptrdiff_t)y * s->pitch + start + k;
        int last = s->channels - 1 - channel, n = end - k < LANES ? end - k : LANES;
        vector v[LANES];
        for (int i = 0; i < LANES; i++) v[i] = load(at + (i < last ? i : last) * s->plane);
        transpose(v);
        for (int i = 0; i < n; i++) to[k++] = v[i];
    }
    for (; k < count; k++) to[k] = splat(0.0f);
}

/* The points of all tiles of a group, for one vector of channels: [points][tiles][depth]. */
static void winograd_input(const winograd_shape *s, const float *x, int channel, int first, int rows, float *to) {
    ptrdiff_t point = winograd_inputs(s);
    vector turned[6][4 * WINOGRAD_SPAN + 2]; /* the rows that a row of tiles reads, in turn */
    for (int tile = 0; tile < s->tiles_x; tile += WINOGRAD_SPAN) {
        int left = s->tiles_x - tile, n = left < WINOGRAD_SPAN ? left : WINOGRAD_SPAN;
        for (int row = 0, made = 0; row < rows; row++) {
            for (; made < 4 * row + 6; made++)
                turned_row(s, x, channel, 4 * first + made - s->top, 4 * tile - s->left, 4 * n + 2, turned[made % 6]);
            for (int t = 0; t < n; t++) {
                float *out = to + ((ptrdiff_t)row * s->tiles_x + tile + t) * s->depth;
                vector columns[6][6], column[6];
                for (int j = 0; j < 6; j++) {
                    for (int i = 0; i < 6; i++) column[i] = turned[(4 * row + i) % 6][4 * t + j];
                    points_of_inputs(column, &columns[0][j], 6);
                }
                for (int i = 0; i < 6; i++) {
                    points_of_inputs(columns[i], column, 1);
                    for (int j = 0; j < 6; j++) store(out + (6 * i + j) * point, column[j]);
                }
            }
        }
    }
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
