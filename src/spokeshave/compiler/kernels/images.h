/* Images of a map: the planes that a convolution reads which has a stride, or whose rows lie without gaps between them. */

/* Every lane of each plane of `to` is that of `from`, or `zero` where the mask is 0. */
static void shifted_image(worker w, const float *from, float *to, int channels, ptrdiff_t from_plane, ptrdiff_t to_plane,
                          int lanes, const int32_t *mask, int32_t zero) {
    range own = share(w, channels);
    lanes_mask zeros = zero - (lanes_mask){0};
    for (int c = own.from; c < own.to; c++)
        for (int i = 0; i < lanes; i += LANES) {
            lanes_mask inside = *(const unaligned_mask *)(mask + i);
            store(to + c * to_plane + i, select(inside, load(from + c * from_plane + i), (vector)zeros));
        }
}

/* `count` of every `stride` elements from `in` on, at most a vector of them; `zeros` behind them. */
INLINE vector row_part(const float *in, int stride, int count, vector zeros) {
    vector v = zeros;
    if (stride > 2) {
        for (int l = 0; l < LANES && l < count; l++) v[l] = in[(ptrdiff_t)l * stride];
    } else if (count > 0) {
        lanes_mask lane;
        for (int l = 0; l < LANES; l++) lane[l] = l;
        v = select(lane < count, strided(in, stride), zeros);
    }
    return v;
}

/* Row by row: `left` lanes of `zero`, `count` elements `stride` apart, `zero` up to the next row and behind the last. */
static void strided_image(worker w, const float *from, float *to, int channels, ptrdiff_t from_plane, ptrdiff_t to_plane,
                          int rows, ptrdiff_t from_row, int stride, int left, int count, int pitch, int lanes,
                          int32_t zero) {
    range own = share(w, channels);
    vector zeros = (vector)(zero - (lanes_mask){0});
    for (int c = own.from; c < own.to; c++) {
        float *out = to + c * to_plane;
        for (int y = 0; y < rows; y++) {
            const float *in = from + c * from_plane + y * from_row;
            int row = y * pitch, end = row + pitch;
            for (int i = row; i < row + left; i += LANES) store_part(out + i, zeros, lanes - i);
            for (int i = row + left, done = 0; i < end; i += LANES, done += LANES)
                store_part(out + i, row_part(in + (ptrdiff_t)done * stride, stride, count - done, zeros), lanes - i);
        }
        for (int i = rows * pitch; i < lanes; i += LANES) store_part(out + i, zeros, lanes - i);
    }
}

/* Elements of a and b in turn, `count` of them. */
INLINE void zip(const float *a, const float *b, float *to, int count) {
    int i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        vector x = load(a + i / 2), y = load(b + i / 2);
        store(to + i, __builtin_shufflevector(x, y, FIRST_IN_TURN));
        store(to + i + LANES, __builtin_shufflevector(x, y, LAST_IN_TURN));
    }
    for (; i < count; i++) to[i] = (i % 2 ? b : a)[i / 2];
}

/* Phases into one map; `channels` and its planes and rows are those of the output. Planes of a group's phases lie one behind the
   other, phase by phase. */
static void interleave(worker w, const float *from, ptrdiff_t from_plane, ptrdiff_t from_row, float *to, ptrdiff_t to_plane,
                       ptrdiff_t to_row, int channels, int groups, int rows, int columns, int height, int width) {
    range own = share(w, channels);
    int each = channels / groups;
    for (int c = own.from; c < own.to; c++)
        for (int y = 0; y < height; y++) {
            ptrdiff_t plane = ((ptrdiff_t)(c / each) * rows + y % rows) * columns * each + c % each;
            const float *in = from + plane * from_plane + y / rows * from_row;
            float *out = to + c * to_plane + y * to_row;
            if (columns == 2) zip(in, in + each * from_plane, out, width);
            else
                for (int x = 0; x < width; x++) out[x] = in[x % columns * each * from_plane + x / columns];
        }
}
