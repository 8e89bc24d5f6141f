/* Sums over channels, and what is made of them: every lane on its own on planes, every row on its own when flat. */
static void sum_of_channels(worker w, const float *from, float *to, int channels, ptrdiff_t plane, int lanes, float divisor,
                            const int32_t *mask) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES) {
        vector sum = splat(0.0f);
        for (int c = 0; c < channels; c++) sum += load(from + c * plane + i);
        store_masked(to + i, sum / divisor, mask + i);
    }
}

static void sum_of_rows(worker w, const float *from, float *to, int rows, int width, float divisor) {
    range own = share(w, rows);
    for (int r = own.from; r < own.to; r++) {
        float sum = 0.0f;
        for (int i = 0; i < width; i++) sum += from[(ptrdiff_t)r * width + i];
        to[r] = sum / divisor;
    }
}

static void rms_norm_planes(worker w, const float *from, const float *weight, float *to, int channels, ptrdiff_t plane,
                            int lanes, float epsilon, const int32_t *mask) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES) {
        vector sum = splat(0.0f);
        for (int c = 0; c < channels; c++) {
            vector v = load(from + c * plane + i);
            sum += v * v;
        }
        vector scale = activate_rsqrt(sum / (float)channels + epsilon);
        for (int c = 0; c < channels; c++)
            store_masked(to + c * plane + i, load(from + c * plane + i) * scale * weight[c], mask + i);
    }
}

static void rms_norm_rows(worker w, const float *from, const float *weight, float *to, int rows, int width, float epsilon) {
    range own = share(w, rows);
    from += (ptrdiff_t)own.from * width, to += (ptrdiff_t)own.from * width;
    for (int r = own.from; r < own.to; r++, from += width, to += width) {
        float sum = 0.0f;
        for (int i = 0; i < width; i++) sum += from[i] * from[i];
        float scale = 1.0f / sqrtf(sum / (float)width + epsilon);
        for (int i = 0; i < width; i++) to[i] = from[i] * scale * weight[i];
    }
}
