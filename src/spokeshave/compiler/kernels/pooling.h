/* Pooling, one output row at a time: first down the columns, whole vectors at a time, into a row with room for the
   padding; then along that row. Vectors may run over a row's end into its gap, never over the arena's. */
typedef struct {
    int channels, height, width, plane, pitch, out_height, out_width, out_plane, out_pitch;
    int kernel_y, kernel_x, stride_y, stride_x, top, left, bottom, right, dilation_y, dilation_x;
} pooling;

INLINE int row_floats(pooling g) { /* a window of the last output may reach past the padding (ceil mode) */
    int reach = (g.out_width - 1) * g.stride_x + (g.kernel_x - 1) * g.dilation_x + 1;
    int padded = g.left + g.width + g.right;
    return (reach > padded ? reach : padded) + (g.stride_x + 1) * LANES;
}

/* Lane i is p[i * stride]. */
INLINE vector strided(const float *p, int stride) {
    if (stride == 1) return load(p);
    if (stride == 2) return even(load(p), load(p + LANES));
    vector v;
    for (int i = 0; i < LANES; i++) v[i] = p[i * stride];
    return v;
}

INLINE vector larger(vector a, vector b) { return select((b > a) | (b != b), b, a); } /* a NaN wins, as in PyTorch */

INLINE vector larger_bytes(vector a, vector b) {
    typedef uint8_t bytes __attribute__((vector_size(VECTOR_BYTES)));
    bytes first = (bytes)(lanes_mask)a, second = (bytes)(lanes_mask)b, above = (bytes)(first > second);
    return (vector)(lanes_mask)((first & above) | (second & ~above));
}

typedef vector (*choose)(vector, vector);

/* Two by two, every second both ways, no window on the padding: straight from the map. */
INLINE int pairs_only(pooling g) {
    int steps = g.kernel_y == 2 && g.kernel_x == 2 && g.stride_y == 2 && g.stride_x == 2;
    int inside = g.top == 0 && g.left == 0 && 2 * g.out_height <= g.height && 2 * g.out_width <= g.width;
    return steps && inside && g.dilation_y == 1 && g.dilation_x == 1;
}

INLINE void max_pool_pairs(worker w, pooling g, const float *from, float *to, choose larger) {
    range own = share(w, g.channels);
    for (int c = own.from; c < own.to; c++)
        for (int oy = 0; oy < g.out_height; oy++) {
            const float *in = from + (ptrdiff_t)c * g.plane + (ptrdiff_t)2 * oy * g.pitch, *below = in + g.pitch;
            float *out = to + (ptrdiff_t)c * g.out_plane + (ptrdiff_t)oy * g.out_pitch;
            for (int ox = 0; ox < g.out_width; ox += LANES, in += 2 * LANES, below += 2 * LANES) {
                for (int byte = 0; byte < 2 * VECTOR_BYTES; byte += 64) {
                    __builtin_prefetch((const char *)(in + g.plane) + byte);
                    __builtin_prefetch((const char *)(below + g.plane) + byte);
                }
                vector left = larger(load(in), load(below)), right = larger(load(in + LANES), load(below + LANES));
                store_part(out + ox, larger(even(left, right), odd(left, right)), g.out_width - ox);
            }
        }
}

INLINE void max_pool_by(worker w, pooling g, const float *from, float *to, choose larger, float least) {
    if (pairs_only(g)) {
        max_pool_pairs(w, g, from, to, larger);
        return;
    }
    int floats = row_floats(g);
    float row[floats];
    range own = share(w, g.channels);
    for (int c = own.from; c < own.to; c++)
        for (int oy = 0; oy < g.out_height; oy++) {
            for (int x = 0; x < floats; x++) row[x] = least;
            for (int ky = 0; ky < g.kernel_y; ky++) {
                int y = oy * g.stride_y + ky * g.dilation_y - g.top;
                if (y < 0 || y >= g.height) continue;
                const float *in = from + (ptrdiff_t)c * g.plane + (ptrdiff_t)y * g.pitch;
                for (int x = 0; x < g.width; x += LANES) store(row + g.left + x, larger(load(row + g.left + x), load(in + x)));
            }
            for (int x = g.left + g.width; x < floats; x++) row[x] = least;
            float *out = to + (ptrdiff_t)c * g.out_plane + (ptrdiff_t)oy * g.out_pitch;
            for (int ox = 0; ox < g.out_width; ox += LANES) {
                vector top = strided(row + ox * g.stride_x, g.stride_x);
                for (int kx = 1; kx < g.kernel_x; kx++)
                    top = larger(top, strided(row + ox * g.stride_x + kx * g.dilation_x, g.stride_x));
                store_part(out + ox, top, g.out_width - ox);
            }
        }
}

static void max_pool(worker w, pooling g, const float *from, float *to) { max_pool_by(w, g, from, to, larger, -INFINITY); }

/* The same of words of four bytes without a sign. */
static void max_pool_words(worker w, pooling g, const float *from, float *to) {
    max_pool_by(w, g, from, to, larger_bytes, 0.0f);
}

INLINE int window(int out, int stride, int before, int kernel, int size, int after, int count_padding) {
    int start = out * stride - before, end = start + kernel;
    if (end > size + after) end = size + after;
    if (count_padding) return end - start;
    return (end > size ? size : end) - (start < 0 ? 0 : start);
}

static void average_pool(worker w, pooling g, int count_padding, const float *from, float *to) {
    int floats = row_floats(g);
    float row[floats];
    range own = share(w, g.channels);
    for (int c = own.from; c < own.to; c++)
        for (int oy = 0; oy < g.out_height; oy++) {
            memset(row, 0, sizeof row);
            for (int ky = 0; ky < g.kernel_y; ky++) {
                int y = oy * g.stride_y + ky - g.top;
                if (y < 0 || y >= g.height) continue;
                const float *in = from + (ptrdiff_t)c * g.plane + (ptrdiff_t)y * g.pitch;
                for (int x = 0; x < g.width; x += LANES) store(row + g.left + x, load(row + g.left + x) + load(in + x));
            }
            for (int x = g.left + g.width; x < floats; x++) row[x] = 0.0f;
            int rows = window(oy, g.stride_y, g.top, g.kernel_y, g.height, g.bottom, count_padding);
            float *out = to + (ptrdiff_t)c * g.out_plane + (ptrdiff_t)oy * g.out_pitch;
            for (int ox = 0; ox < g.out_width; ox += LANES) {
                vector sum = strided(row + ox * g.stride_x, g.stride_x), count;
                for (int kx = 1; kx < g.kernel_x; kx++) sum += strided(row + ox * g.stride_x + kx, g.stride_x);
                for (int l = 0; l < LANES; l++)
                    count[l] = (float)(rows * window(ox + l, g.stride_x, g.left, g.kernel_x, g.width, g.right, count_padding));
                store_part(out + ox, sum / count, g.out_width - ox);
            }
        }
}
