/* Sums over channels: every lane on its own on planes, every row on its own when flat. Four chains of additions keep the
   adders busy. */
INLINE vector sum_across(const float *from, ptrdiff_t plane, int channels) {
    vector sums[4] = {{0}, {0}, {0}, {0}};
    int c = 0;
    for (; c + 4 <= channels; c += 4)
        for (int k = 0; k < 4; k++) sums[k] += load(from + (c + k) * plane);
    for (; c < channels; c++) sums[0] += load(from + c * plane);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

INLINE vector squares_across(const float *from, ptrdiff_t plane, int channels, vector mean) {
    vector sums[4] = {{0}, {0}, {0}, {0}};
    int c = 0;
    for (; c + 4 <= channels; c += 4)
        for (int k = 0; k < 4; k++) {
            vector d = load(from + (c + k) * plane) - mean;
            sums[k] += d * d;
        }
    for (; c < channels; c++) {
        vector d = load(from + c * plane) - mean;
        sums[0] += d * d;
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* The same along a row: whole vectors as channels, then what is left of it. */
INLINE float sum_along(const float *from, int width) {
    vector sums = sum_across(from, LANES, width / LANES);
    float sum = 0.0f;
    for (int l = 0; l < LANES; l++) sum += sums[l];
    for (int i = width / LANES * LANES; i < width; i++) sum += from[i];
    return sum;
}

INLINE float squares_along(const float *from, int width, float mean) {
    vector sums = squares_across(from, LANES, width / LANES, splat(mean));
    float sum = 0.0f;
    for (int l = 0; l < LANES; l++) sum += sums[l];
    for (int i = width / LANES * LANES; i < width; i++) sum += (from[i] - mean) * (from[i] - mean);
    return sum;
}

static void sum_of_channels(worker w, const float *from, float *to, int channels, ptrdiff_t plane, int lanes, float divisor,
                            const int32_t *mask) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES)
        store_masked(to + i, sum_across(from + i, plane, channels) / divisor, mask + i);
}

static void sum_of_rows(worker w, const float *from, float *to, int rows, int width, float divisor) {
    range own = share(w, rows);
    for (int r = own.from; r < own.to; r++) to[r] = sum_along(from + (ptrdiff_t)r * width, width) / divisor;
}
