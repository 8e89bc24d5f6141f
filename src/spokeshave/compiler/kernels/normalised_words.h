/* Layer norms and RMS norms of planes whose only reader is of lower precision: what they give is converted at once. */
static void norm_to_bytes(worker w, const float *from, const float *weight, const float *bias, int32_t *to, int channels,
                          ptrdiff_t plane, int lanes, const int32_t *mask, float epsilon, int centred, requantization q) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES) {
        spread s = spread_of(from + i, plane, channels, epsilon, centred);
        for (int c = 0; c < channels; c += 4) {
            vector levels[4];
            for (int k = 0; k < 4; k++) {
                int row = c + k < channels ? c + k : c;
                levels[k] = in_output_units(normalised(from + row * plane + i, s, weight[row], bias[row]), q);
            }
            lanes_mask word = levels_word(levels[0], levels[1], levels[2], levels[3], q);
            store_word(to + c / 4 * plane + i, word, mask + i, q.gap);
        }
    }
}

static void norm_to_pairs(worker w, const float *from, const float *weight, const float *bias, int32_t *to, int channels,
                          ptrdiff_t plane, int lanes, const int32_t *mask, float epsilon, int centred) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES) {
        spread s = spread_of(from + i, plane, channels, epsilon, centred);
        for (int c = 0; c < channels; c += 2) {
            vector first = normalised(from + c * plane + i, s, weight[c], bias[c]), second = splat(0.0f);
            if (c + 1 < channels) second = normalised(from + (c + 1) * plane + i, s, weight[c + 1], bias[c + 1]);
            store_word(to + c / 2 * plane + i, pair_of(first, second), mask + i, 0);
        }
    }
}
