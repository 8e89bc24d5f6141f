/* Everything but the matrix kernels; each worker does its share. Planes are given by their stride (`plane`), row pitch and size; `lanes` covers all
   rows, gaps included, in whole vectors; `mask` is -1 where a lane is a true position and 0 in gaps, which stay zero. */

INLINE void every_second(const float *from, float *to, int count) {
    int i = 0;
    for (; i + LANES < count; i += LANES) store(to + i, even(load(from + 2 * i), load(from + 2 * i + LANES)));
    for (; i < count; i++) to[i] = from[2 * i];
}

INLINE void repeat(float one, float *to, int count) {
    int i = 0;
    for (; i + LANES <= count; i += LANES) store(to + i, splat(one));
    for (; i < count; i++) to[i] = one;
}

/* to[column * t + row] = from[row * f + column], a square of whole vectors at a time. */
static void turn(const float *from, ptrdiff_t f, float *to, ptrdiff_t t, int columns, int rows) {
    for (int row = 0; row < rows; row += LANES)
        for (int column = 0; column < columns; column += LANES) {
            vector v[LANES];
            for (int i = 0; i < LANES; i++)
                v[i] = row + i < rows ? load_part(from + (row + i) * f + column, columns - column) : splat(0.0f);
            transpose(v);
            for (int i = 0; i < LANES; i++)
                if (column + i < columns) store_part(to + (column + i) * t + row, v[i], rows - row);
        }
}

#define WORTH_TURNING 4 /* columns */

/* One strided copy moves a value between any two layouts, slices, pads, concatenates and permutes. */
static void copy(worker w, const float *from, float *to, int n0, ptrdiff_t f0, ptrdiff_t t0, int n1, ptrdiff_t f1,
                 ptrdiff_t t1, int n2, ptrdiff_t f2, ptrdiff_t t2, int n3, ptrdiff_t f3, ptrdiff_t t3) {
    range a = share_axis(w, 0, n0, n1, n2, n3), b = share_axis(w, 1, n0, n1, n2, n3);
    range c = share_axis(w, 2, n0, n1, n2, n3), d = share_axis(w, 3, n0, n1, n2, n3);
    int length = d.to - d.from, turned = f2 == 1 && f3 > 1 && t3 == 1 && c.to - c.from >= WORTH_TURNING;
    for (int i = a.from; i < a.to; i++)
        for (int j = b.from; j < b.to; j++) {
            if (turned) {
                turn(from + i * f0 + j * f1 + c.from + d.from * f3, f3, to + i * t0 + j * t1 + c.from * t2 + d.from, t2,
                     c.to - c.from, length);
                continue;
            }
            for (int k = c.from; k < c.to; k++) {
                const float *in = from + i * f0 + j * f1 + k * f2 + d.from * f3;
                float *out = to + i * t0 + j * t1 + k * t2 + d.from * t3;
                if (f3 == 1 && t3 == 1)
                    memcpy(out, in, (size_t)length * sizeof(float));
                else if (f3 == 0 && t3 == 1)
                    repeat(*in, out, length);
                else if (f3 == 2 && t3 == 1)
                    every_second(in, out, length);
                else
                    for (int l = 0; l < length; l++) out[l * t3] = in[l * f3];
            }
        }
}

static void fill(worker w, float *to, float value, int n0, ptrdiff_t t0, int n1, ptrdiff_t t1, int n2, ptrdiff_t t2,
                 int n3, ptrdiff_t t3) {
    range a = share_axis(w, 0, n0, n1, n2, n3), b = share_axis(w, 1, n0, n1, n2, n3);
    range c = share_axis(w, 2, n0, n1, n2, n3), d = share_axis(w, 3, n0, n1, n2, n3);
    for (int i = a.from; i < a.to; i++)
        for (int j = b.from; j < b.to; j++)
            for (int k = c.from; k < c.to; k++)
                for (int l = d.from; l < d.to; l++) to[i * t0 + j * t1 + k * t2 + l * t3] = value;
}

/* Zeros for planes that lie where something else has been: between the planes; or between their rows as well. */
static void clear_margins(worker w, float *to, int channels, ptrdiff_t plane, int front, int lanes) {
    range own = share(w, channels);
    if (w.index == 0) memset(to, 0, (size_t)front * sizeof(float));
    for (int c = own.from; c < own.to; c++)
        memset(to + front + c * plane + lanes, 0, (size_t)(plane - lanes) * sizeof(float));
}

static void clear_gaps(worker w, float *to, int channels, ptrdiff_t plane, int front, int lanes, int height, int width,
                       int pitch) {
    clear_margins(w, to, channels, plane, front, lanes);
    range own = share(w, channels);
    for (int c = own.from; c < own.to; c++) {
        float *rows = to + front + c * plane;
        for (int y = 0; y < height; y++)
            for (int x = width; x < pitch; x++) rows[y * pitch + x] = 0.0f;
        for (int x = height * pitch; x < lanes; x++) rows[x] = 0.0f;
    }
}

static void mean_of_planes(worker w, const float *from, float *to, int channels, ptrdiff_t plane, int lanes,
                           int positions, const int32_t *mask) {
    range own = share(w, channels);
    for (int c = own.from; c < own.to; c++) {
        vector sum = splat(0.0f);
        for (int i = 0; i < lanes; i += LANES)
            sum += (vector)((lanes_mask)load(from + c * plane + i) & *(const unaligned_mask *)(mask + i));
        float total = 0.0f;
        for (int i = 0; i < LANES; i++) total += sum[i];
        to[c] = total / (float)positions;
    }
}

/* Element-wise operations: second operand the same layout, one number per channel, or one number. */
#define BINARY(NAME, EXPRESSION)                                                                                       \
    static void NAME##_values(worker w, const float *from, const float *other, float *to, int channels,               \
                              ptrdiff_t plane, ptrdiff_t other_plane, int lanes, const int32_t *mask) {               \
        extent own = share_extent(w, channels, lanes);                                                                 \
        EACH_VECTOR(own, c, i) {                                                                                       \
            vector a = load(from + c * plane + i), b = load(other + c * other_plane + i);                              \
            store_masked(to + c * plane + i, EXPRESSION, mask + i);                                                    \
        }                                                                                                              \
    }                                                                                                                  \
    static void NAME##_channels(worker w, const float *from, const float *other, float *to, int channels,             \
                                ptrdiff_t plane, int lanes, const int32_t *mask) {                                     \
        extent own = share_extent(w, channels, lanes);                                                                 \
        EACH_VECTOR(own, c, i) {                                                                                       \
            vector a = load(from + c * plane + i), b = splat(other[c]);                                                \
            store_masked(to + c * plane + i, EXPRESSION, mask + i);                                                    \
        }                                                                                                              \
    }
BINARY(add, a + b)
BINARY(subtract, a - b)
BINARY(subtract_reversed, b - a)
BINARY(multiply, a *b)
BINARY(divide, a / b)
BINARY(divide_reversed, b / a)
#define TRUTH(CONDITION) ((vector)((lanes_mask)(CONDITION) & (lanes_mask)splat(1.0f)))
BINARY(equal, TRUTH(a == b))
BINARY(not_equal, TRUTH(a != b))
BINARY(less, TRUTH(a < b))
BINARY(less_equal, TRUTH(a <= b))
BINARY(greater, TRUTH(a > b))
BINARY(greater_equal, TRUTH(a >= b))
BINARY(maximum, select(a > b, a, select(b >= a, b, a + b))) /* a + b is NaN when either is */
BINARY(minimum, select(a < b, a, select(b <= a, b, a + b)))

static void affine(worker w, const float *from, const float *scale, const float *shift, float *to, int channels,
                   ptrdiff_t plane, int lanes, const int32_t *mask) {
    extent own = share_extent(w, channels, lanes);
    EACH_VECTOR(own, c, i)
        store_masked(to + c * plane + i, load(from + c * plane + i) * scale[c] + shift[c], mask + i);
}

static void fill_rows(worker w, const float *bias, float *to, int channels, ptrdiff_t plane, int lanes) {
    extent own = share_extent(w, channels, lanes);
    EACH_VECTOR(own, c, i) store(to + c * plane + i, splat(bias[c]));
}
