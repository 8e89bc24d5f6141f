/* The largest channels of every token, and tokens in the order of the matrices that they choose. */

/* Round by round, each lane finds the largest channel behind the last one found, by value and then by number. A lane
   that holds a NaN gives NaNs. */
static void top_channels(worker w, const float *from, float *values, float *numbers, int channels, int count, ptrdiff_t plane,
                         ptrdiff_t value_plane, ptrdiff_t number_plane, int lanes, const int32_t *mask) {
    range own = share_lanes(w, lanes);
    for (int i = own.from; i < own.to; i += LANES) {
        vector last = splat(INFINITY), place = splat(-1.0f), sum = splat(0.0f);
        for (int c = 0; c < channels; c++) {
            vector v = load(from + c * plane + i);
            sum = select(v != v, v, sum);
        }
        for (int k = 0; k < count; k++) {
            vector best = splat(-INFINITY), found = splat(0.0f);
            lanes_mask none = (lanes_mask)(splat(0.0f) == 0.0f);
            for (int c = 0; c < channels; c++) {
                vector v = load(from + c * plane + i), number = splat((float)c);
                lanes_mask behind = (v < last) | ((v == last) & (number > place));
                lanes_mask better = behind & ((v > best) | none);
                best = select(better, v, best), found = select(better, number, found);
                none &= ~better;
            }
            last = best, place = found;
            store_masked(values + k * value_plane + i, best + sum, mask + i);
            store_masked(numbers + k * number_plane + i, found, mask + i);
        }
    }
}

/* Tokens in the order of the matrices that they choose, so that a matrix's stand side by side, from a multiple of `align`
   on: `groups` says where, and its last where all end; `order` is the token in each place, and `place` that of each token.
   A number outside counts as 0 and leaves `step` in `fault`, by which the caller knows. */
static void group_tokens(worker w, const float *chosen, range *groups, int32_t *order, int32_t *place, int matrices, int tokens,
                         int align, int step, int *fault) {
    if (w.index) return;
    for (int m = 0; m < matrices; m++) groups[m] = (range){0, 0};
    for (int t = 0; t < tokens; t++) {
        int inside = chosen[t] >= 0.0f && chosen[t] < (float)matrices;
        if (!inside) __atomic_store_n(fault, step, __ATOMIC_RELAXED);
        place[t] = inside ? (int)chosen[t] : 0;
        groups[place[t]].to++;
    }
    int next = 0;
    for (int m = 0; m <= matrices; m++) {
        int from = next, end = m < matrices ? from + groups[m].to : from;
        next = (end + align - 1) / align * align;
        for (int i = end; i < next; i++) order[i] = 0;
        groups[m] = (range){from, from};
    }
    for (int t = 0; t < tokens; t++) {
        int at = groups[place[t]].to++;
        order[at] = t, place[t] = at;
    }
}

/* Row i is row `index[i]` of `from`. */
static void pick_rows(worker w, const int32_t *index, const float *from, float *to, int width, int count) {
    range own = share(w, count);
    for (int i = own.from; i < own.to; i++)
        memcpy(to + (ptrdiff_t)i * width, from + (ptrdiff_t)index[i] * width, (size_t)width * sizeof(float));
}

/* The same of lanes of planes. */
static void pick_lanes(worker w, const int32_t *index, const float *from, ptrdiff_t from_plane, float *to, ptrdiff_t to_plane,
                       int channels, int count) {
    range own = share(w, channels);
    for (int c = own.from; c < own.to; c++)
        for (int i = 0; i < count; i++) to[c * to_plane + i] = from[c * from_plane + index[i]];
}
