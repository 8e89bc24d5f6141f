/* Softmax and normalisation: every lane on its own on planes, every row on its own when flat. A softmax whose
   `polynomial` is not 0 is HeatViT's, and its rows add up to that. */
INLINE vector exponential_or(float polynomial, vector v) {
    return polynomial != 0.0f ? polynomial_power(v * 1.44269504f) : exponential(v);
}
static void softmax_planes(worker w, const float *from, float *to, int channels, ptrdiff_t plane, int lanes, int logarithm,
                           float polynomial, const int32_t *mask) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES) {
        vector top = load(from + i), sum = splat(0.0f);
        for (int c = 1; c < channels; c++) top = larger_of(load(from + c * plane + i), top);
        for (int c = 0; c < channels; c++) {
            vector v = load(from + c * plane + i) - top, power = exponential_or(polynomial, v);
            store(to + c * plane + i, logarithm ? v : power);
            sum += power;
        }
        vector shift = sum, scale = (polynomial != 0.0f ? polynomial : 1.0f) / sum;
        for (int l = 0; l < LANES; l++) shift[l] = logf(sum[l]);
        for (int c = 0; c < channels; c++) {
            vector v = load(to + c * plane + i);
            store_masked(to + c * plane + i, logarithm ? v - shift : v * scale, mask + i);
        }
    }
}

static void softmax_rows(worker w, const float *from, float *to, int rows, int width, int logarithm,
                         float polynomial) {
    range own = share(w, rows);
    from += (ptrdiff_t)own.from * width, to += (ptrdiff_t)own.from * width;
    for (int r = own.from; r < own.to; r++, from += width, to += width) {
        float top = from[0];
        for (int i = 1; i < width; i++) top = from[i] > top ? from[i] : top;
        int i = 0;
        for (; i + LANES <= width; i += LANES) store(to + i, exponential_or(polynomial, load(from + i) - top));
        for (; i < width; i++) to[i] = polynomial != 0.0f ? exponential_or(polynomial, splat(from[i] - top))[0] : expf(from[i] - top);
        float sum = sum_along(to, width), shift = logf(sum);
        if (polynomial != 0.0f) sum /= polynomial;
        for (i = 0; i < width; i++) to[i] = logarithm ? from[i] - top - shift : to[i] / sum;
    }
}

/* A vector of tokens, normalised across planes: with `centred`, their mean is taken off; else it counts as 0. */
typedef struct {
    vector mean, scale;
} spread;
INLINE spread spread_of(const float *from, ptrdiff_t plane, int channels, float epsilon, int centred) {
    vector mean = centred ? sum_across(from, plane, channels) / (float)channels : splat(0.0f);
    return (spread){mean, activate_rsqrt(squares_across(from, plane, channels, mean) / (float)channels + epsilon)};
}
INLINE vector normalised(const float *from, spread s, float weight, float bias) {
    return (load(from) - s.mean) * s.scale * weight + bias;
}

static void layer_norm_planes(worker w, const float *from, const float *weight, const float *bias, float *to, int channels,
                              ptrdiff_t plane, int lanes, float epsilon, const int32_t *mask) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES) {
        spread s = spread_of(from + i, plane, channels, epsilon, 1);
        for (int c = 0; c < channels; c++)
            store_masked(to + c * plane + i, normalised(from + c * plane + i, s, weight[c], bias[c]), mask + i);
    }
}

static void layer_norm_rows(worker w, const float *from, const float *weight, const float *bias, float *to, int rows, int width,
                            float epsilon) {
    range own = share(w, rows);
    from += (ptrdiff_t)own.from * width, to += (ptrdiff_t)own.from * width;
    for (int r = own.from; r < own.to; r++, from += width, to += width) {
        float mean = sum_along(from, width) / (float)width;
        float scale = 1.0f / sqrtf(squares_along(from, width, mean) / (float)width + epsilon);
        for (int i = 0; i < width; i++) to[i] = (from[i] - mean) * scale * weight[i] + bias[i];
    }
}

static void rms_norm_planes(worker w, const float *from, const float *weight, float *to, int channels, ptrdiff_t plane,
                            int lanes, float epsilon, const int32_t *mask) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES) {
        vector sum = squares_across(from + i, plane, channels, splat(0.0f));
        vector scale = activate_rsqrt(sum / (float)channels + epsilon);
        for (int c = 0; c < channels; c++)
            store_masked(to + c * plane + i, load(from + c * plane + i) * scale * weight[c], mask + i);
    }
}

static void rms_norm_rows(worker w, const float *from, const float *weight, float *to, int rows, int width, float epsilon) {
    range own = share(w, rows);
    from += (ptrdiff_t)own.from * width, to += (ptrdiff_t)own.from * width;
    for (int r = own.from; r < own.to; r++, from += width, to += width) {
        float scale = 1.0f / sqrtf(squares_along(from, width, 0.0f) / (float)width + epsilon);
        for (int i = 0; i < width; i++) to[i] = from[i] * scale * weight[i];
    }
}

static void group_norm(worker w, const float *from, const float *weight, const float *bias, float *to, int groups, int channels,
                       ptrdiff_t plane, int lanes, int positions, float epsilon, const int32_t *mask) {
    range own = share(w, groups);
    for (int g = own.from; g < own.to; g++) {
        const float *group = from + (ptrdiff_t)g * channels * plane;
        float mean = 0.0f, variance = 0.0f, count = (float)channels * (float)positions;
        for (int c = 0; c < channels; c++) {
            float one;
            mean_of_planes(ALONE, group + c * plane, &one, 1, plane, lanes, 1, mask);
            mean += one;
        }
        mean /= count;
        for (int c = 0; c < channels; c++)
            for (int i = 0; i < lanes; i++) {
                float d = mask[i] ? group[c * plane + i] - mean : 0.0f;
                variance += d * d;
            }
        float scale = 1.0f / sqrtf(variance / count + epsilon);
        for (int c = 0; c < channels; c++) {
            int k = g * channels + c;
            affine(ALONE, group + c * plane, (float[]){scale * weight[k]}, (float[]){bias[k] - mean * scale * weight[k]},
                   to + k * plane, 1, plane, lanes, mask);
        }
    }
}
