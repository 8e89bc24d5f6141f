"""C text of the attention kernel: softmax(keys times queries) times values, one head and one tile of queries at a time.

Queries are lanes and heads are ranges of channels, so nothing is moved: scores come as `[key][query lane]`, the softmax
over keys is lane-wise, and the sums of values come as planes again. Scores never leave a tile in the cache: keys are
taken `KEYS` at a time, and what was summed before is scaled down when a larger score appears (online softmax as in
FlashAttention, arXiv 2205.14135).
"""

from spokeshave.compiler.kernels.instances import AttentionKernel

KEYS = 256


def attention_function(kernel: AttentionKernel) -> str:
    """C text of the kernel with its scores and softmax."""
    product = kernel.product
    names = {"PRODUCT": product.name, "ROWS": product.rows, "VECTORS": product.vectors, "HEAD": kernel.head}
    text = _TEXT
    for name, meaning in {**names, "KEYS": KEYS, "NAME": kernel.name}.items():
        text = text.replace(name, str(meaning))
    return text


_TEXT = """
typedef struct {
    int windows, heads, group, head, queries, keys; /* a window's queries and keys */
    ptrdiff_t query_plane, key_plane, value_plane, out_plane, mask_window, mask_head, mask_key;
    int mask_query, causal; /* mask_query: 1 where the mask differs from query to query, else 0 */
    float scale;
} NAME_shape;

/* Scale and mask, in place where there is more to it than a factor; returns what is left to multiply the scores with to
   have them in units of ln 2. */
INLINE float NAME_masked(const NAME_shape *s, float *scores, ptrdiff_t row, const float *mask, int from, int to,
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
INLINE vector NAME_largest(const float *scores, ptrdiff_t row, int keys) {
    vector best = splat(-INFINITY);
    int key = 0;
    for (; key + 4 <= keys; key += 4, scores += 4 * row) {
        vector one = larger_of(load(scores), load(scores + row));
        best = larger_of(best, larger_of(one, larger_of(load(scores + 2 * row), load(scores + 3 * row))));
    }
    for (; key < keys; key++, scores += row) best = larger_of(best, load(scores));
    return best;
}

/* Scores of one tile from key `from` to key `to`: masked, less their maximum, exponentials in place. `top` and `sum`
   hold the largest score, in units of ln 2, and the sum of exponentials so far; returns the factor of what was summed
   before. */
INLINE vector NAME_softmax(const NAME_shape *s, float *scores, ptrdiff_t row, const float *mask, int from, int to,
                           int query, vector *top, vector *sum) {
    float unit = NAME_masked(s, scores, row, mask, from, to, query);
    vector old = *top, best = larger_of(old, NAME_largest(scores, row, to - from) * unit), total = splat(0.0f);
    for (int key = 0; key < to - from; key++) {
        vector p = power_of_two(load(scores + key * row) * unit - best);
        store(scores + key * row, p);
        total += p;
    }
    vector loss = power_of_two(old - best);
    *top = best, *sum = *sum * loss + total;
    return loss;
}

/* Store what is summed divided by the sums of exponentials; only true queries are written. */
INLINE void NAME_finish(const NAME_shape *s, const float *sums, const vector *sum, float *to, int vectors,
                        int queries) {
    for (int t = 0; t < vectors; t++) {
        vector scale = select(sum[t] > 0.0f, 1.0f / sum[t], splat(0.0f));
        int left = queries - t * LANES;
        for (int d = 0; d < HEAD; d++) {
            vector v = load(sums + (d * VECTORS + t) * LANES) * scale;
            float *out = to + d * s->out_plane + t * LANES;
            if (left >= LANES) store(out, v);
            else for (int i = 0; i < left; i++) out[i] = v[i];
        }
    }
}

static void NAME_tile(const NAME_shape *s, const float *query, const float *key, const float *value, const float *mask,
                      float *to, int first, int vectors) {
    enum { row = VECTORS * LANES };
    float scores[(KEYS + ROWS) * row] __attribute__((aligned(64))), sums[HEAD * row] __attribute__((aligned(64)));
    vector top[VECTORS], sum[VECTORS];
    for (int t = 0; t < vectors; t++) top[t] = splat(-FLT_MAX), sum[t] = splat(0.0f);
    int last = first + vectors * LANES + s->keys - s->queries, keys = s->causal && last < s->keys ? last : s->keys;
    for (int from = 0; from < keys; from += KEYS) {
        int to_key = from + KEYS < keys ? from + KEYS : keys, rows = (to_key - from + ROWS - 1) / ROWS * ROWS;
        PRODUCT(key + from, 1, s->key_plane, query, s->query_plane, s->head, 0, scores, row, rows, vectors);
        for (int t = 0; t < vectors; t++) {
            float *at = scores + t * LANES;
            vector loss = NAME_softmax(s, at, row, mask, from, to_key, first + t * LANES, top + t, sum + t);
            if (from)
                for (int d = 0; d < HEAD; d++) {
                    float *old = sums + (d * VECTORS + t) * LANES;
                    store(old, load(old) * loss);
                }
        }
        PRODUCT(value + from, s->value_plane, 1, scores, row, to_key - from, from > 0, sums, row, HEAD, vectors);
    }
    NAME_finish(s, sums, sum, to, vectors, s->queries - first);
}

static void NAME(worker w, NAME_shape s, const float *query, const float *key, const float *value, const float *mask,
                 float *to) {
    int all = (s.queries + LANES - 1) / LANES, tiles = (all + VECTORS - 1) / VECTORS, width = (all + tiles - 1) / tiles;
    range own = share(w, s.windows * s.heads * tiles);
    for (int item = own.from; item < own.to; item++) {
        int first = item % tiles * width, head = item / tiles % s.heads, window = item / tiles / s.heads;
        int vectors = first + width < all ? width : all - first;
        ptrdiff_t shared = head / s.group, at = (ptrdiff_t)window * s.queries + first * LANES;
        if (vectors <= 0) continue;
        NAME_tile(&s, query + head * s.head * s.query_plane + at,
                  key + shared * s.head * s.key_plane + (ptrdiff_t)window * s.keys,
                  value + shared * HEAD * s.value_plane + (ptrdiff_t)window * s.keys,
                  mask ? mask + window * s.mask_window + head * s.mask_head : 0,
                  to + head * HEAD * s.out_plane + at, first * LANES, vectors);
    }
}
"""
