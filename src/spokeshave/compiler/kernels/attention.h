/* What attention kernels share: masks, the softmax of a tile of scores, and operands as pairs of bfloat16 numbers. */
typedef struct {
    int windows, heads, group, head, queries, keys; /* a window's queries and keys */
    ptrdiff_t query_plane, key_plane, value_plane, out_plane, mask_window, mask_head, mask_key;
    int mask_query, causal; /* mask_query: 1 where the mask differs from query to query, else 0 */
    float scale, total; /* what the weights of a query add up to */
} attention_shape;

/* Scale and mask the scores of keys `from` to `to`, in place where there is more to it than a factor; returns what is
   left to multiply them with to have them in units of ln 2. */
INLINE float masked(const attention_shape *s, float *scores, ptrdiff_t row, const float *mask, int from, int to,
                    int query) {
    const float whole = 1.44269504f; /* 1 / ln 2 */
    int factor_is_enough = !mask && s->scale > 0.0f;
    if (!factor_is_enough)
        for (int key = from; key < to; key++) {
            float *at = scores + (key - from) * row;
            vector v = load(at) * (s->scale * whole);
            const float *seen = mask ? mask + key * s->mask_key : 0;
            if (mask) { /* -inf hides a key; numbers that only become so in these units do not */
                vector m = s->mask_query ? load(seen + query) : splat(*seen);
                v = select(m > splat(-INFINITY), at_least(v + whole * m, -FLT_MAX), m);
            }
            store(at, v);
        }
    if (s->causal) {
        lanes_mask newest; /* the last key that each query sees */
        for (int i = 0; i < LANES; i++) newest[i] = query + i + s->keys - s->queries;
        for (int key = from > newest[0] + 1 ? from : newest[0] + 1; key < to; key++) {
            float *at = scores + (key - from) * row;
            store(at, select(newest < key, splat(-INFINITY), load(at)));
        }
    }
    return factor_is_enough ? s->scale * whole : 1.0f;
}

/* The largest of `keys` scores, four at a time. */
INLINE vector largest(const float *scores, ptrdiff_t row, int keys) {
    vector best = splat(-INFINITY);
    int key = 0;
    for (; key + 4 <= keys; key += 4, scores += 4 * row) {
        vector one = larger_of(load(scores), load(scores + row));
        best = larger_of(best, larger_of(one, larger_of(load(scores + 2 * row), load(scores + 3 * row))));
    }
    for (; key < keys; key++, scores += row) best = larger_of(best, load(scores));
    return best;
}

INLINE vector power(vector v, int half, int polynomial) {
    return polynomial ? polynomial_power(v) : half ? rough_power_of_two(v) : power_of_two(v);
}

/* Scores of `keys` keys, times `unit` and less their maximum, become exponentials in place; with `pairs`, those of two
   keys become one word of bfloat16 numbers. `top` and `sum` hold the largest score, in units of ln 2, and the sum of
   exponentials so far; returns the factor of what was summed before. */
INLINE vector softmax(float *scores, ptrdiff_t row, float unit, int keys, int pairs, int polynomial, vector *top,
                      vector *sum) {
    vector old = *top, best = larger_of(old, largest(scores, row, keys) * unit), total = splat(0.0f);
    for (int key = 0; key < keys; key += 1 + pairs) {
        vector p = power(load(scores + key * row) * unit - best, pairs, polynomial), next = splat(0.0f);
        if (pairs && key + 1 < keys) next = power(load(scores + (key + 1) * row) * unit - best, pairs, polynomial);
        store(scores + (key >> pairs) * row, pairs ? (vector)pair_of(p, next) : p);
        total += p + next;
    }
    vector loss = power_of_two(old - best);
    *top = best, *sum = *sum * loss + total;
    return loss;
}

/* Where keys are lanes: a number as it is multiplied; with `half`, rounded to bfloat16. */
INLINE vector operand(vector v, int half) { return half ? (vector)(nearest_half(v) & 0xFFFF0000u) : v; }

/* The mask of up to a vector of keys. */
INLINE vector mask_of_one(const attention_shape *s, const float *mask, int keys) {
    if (s->mask_key == 1) return load_part(mask, keys);
    vector m = splat(0.0f);
    for (int l = 0; l < LANES && l < keys; l++) m[l] = mask[l * s->mask_key];
    return m;
}

/* Scale and mask scores of one query and `keys` keys, of which it sees `seen`, in place; returns the largest, or `top`. */
INLINE float scaled_of_one(const attention_shape *s, float *scores, const float *mask, int keys, int seen, float top) {
    const float whole = 1.44269504f; /* 1 / ln 2 */
    vector best = splat(top), hidden = splat(-INFINITY);
    lanes_mask lane;
    for (int l = 0; l < LANES; l++) lane[l] = l;
    for (int i = 0; i < keys; i += LANES) {
        vector v = load(scores + i) * (s->scale * whole);
        if (mask) {
            vector m = mask_of_one(s, mask + i * s->mask_key, keys - i);
            v = select(m > hidden, at_least(v + whole * m, -FLT_MAX), m);
        }
        v = select(lane < seen - i, v, hidden);
        best = larger_of(best, v);
        store(scores + i, v);
    }
    for (int l = 0; l < LANES; l++) top = best[l] > top ? best[l] : top;
    return top;
}

/* Scaled scores of one query become exponentials; `top`, which `best` replaces, `sum` and what is returned as in
   `softmax`. */
INLINE float softmax_of_one(float *scores, int keys, int half, int polynomial, float best, float *top, float *sum) {
    vector total = splat(0.0f);
    for (int i = 0; i < keys; i += LANES) {
        vector p = power(load(scores + i) - best, half, polynomial);
        total += p;
        store(scores + i, operand(p, half));
    }
    float loss = power_of_two(splat(*top - best))[0];
    *top = best, *sum *= loss;
    for (int l = 0; l < LANES; l++) *sum += total[l];
    return loss;
}

/* Two channels of a position to a word, whole vectors of positions; a last channel alone is paired with 0. */
INLINE void pair_channels(const float *from, ptrdiff_t plane, int channels, int32_t *to, ptrdiff_t row, int lanes) {
    for (int c = 0; c < channels; c += 2)
        for (int i = 0; i < lanes; i += LANES) {
            vector first = load(from + c * plane + i), second = splat(0.0f);
            if (c + 1 < channels) second = load(from + (c + 1) * plane + i);
            *(unaligned_mask *)(to + c / 2 * row + i) = pair_of(first, second);
        }
}

/* Two positions of a channel to a word, whole vectors of words; behind the last position there are zeros. */
INLINE void pair_positions(const float *from, ptrdiff_t plane, int channels, int32_t *to, ptrdiff_t row, int positions) {
    for (int c = 0; c < channels; c++, from += plane, to += row) {
        for (int i = 0; i < positions; i += 2 * LANES) {
            vector low = load(from + i), high = load(from + i + LANES);
            *(unaligned_mask *)(to + i / 2) = pair_of(even(low, high), odd(low, high));
        }
        if (positions % 2) to[positions / 2] &= 0xFFFF;
        for (int word = (positions + 1) / 2; word % LANES; word++) to[word] = 0;
    }
}

/* Words of a head: the queries of one tile, and the keys and values of one block of keys. */
typedef struct {
    int32_t *query, *key, *value;
    const float *packed; /* the keys whose words these are */
} attention_words;
