"""C text of the attention kernel: softmax(keys times queries) times values, one head and one tile of queries at a time.

Queries are lanes and heads are ranges of channels, so nothing is moved: scores come as `[key][query lane]`, the softmax
over keys is lane-wise, and the sums of values come as planes again. Scores never leave a tile in the cache: keys are
taken `KEYS` at a time, and what was summed before is scaled down when a larger score appears (online softmax as in
FlashAttention, arXiv 2205.14135). Queries that do not fill a vector go by themselves (`attention_few.py`). In
bfloat16, operands of both products are pairs of numbers, which are made of the planes a head at a time; for tile
registers, in whole tiles. A polynomial in
the exponential's place cannot be scaled down later: where keys exceed a tile, a first pass finds the largest score.
"""

from spokeshave.compiler.kernels.amx import TILE
from spokeshave.compiler.kernels.attention_few import few_functions, query_groups
from spokeshave.compiler.kernels.instances import AttentionKernel

KEYS = 256


def attention_function(kernel: AttentionKernel) -> str:
    """C text of the kernel."""
    product = kernel.product
    names = {"PRODUCT": product.name, "ROWS": product.rows, "VECTORS": product.vectors, "HEAD": kernel.head}
    most = "((LANES + 7) / 8)" if product.half else "(LANES / 2)"
    numbers = {"MOST_ALONE": most, "GROUP": query_groups(kernel)[0], "KEYS": KEYS, "NAME": kernel.name}
    numbers |= {"HALF": int(product.half), "POLYNOMIAL": int(kernel.polynomial)}
    numbers["CHANNELS"] = -(-kernel.head // TILE) * TILE if product.amx else kernel.head
    text = _TEXT
    forms = _TILES if product.amx else _PAIRS if product.half else _FLOATS
    for name, meaning in {**forms, **names, **numbers}.items():
        text = text.replace(name, str(meaning))
    return few_functions(kernel, KEYS) + text


_FLOATS = {
    "BEGIN": "",
    "END": "",
    "WORDS": "0",
    "PACK": "",
    "SCORES": "PRODUCT(key + from, 1, s->key_plane, query, s->query_plane, s->head, 0, scores, row, rows, vectors);",
    "ADD": "PRODUCT(value + from, s->value_plane, 1, scores, row, to_key - from, from > 0, sums, row, HEAD, vectors);",
}

_PAIRS = {
    "BEGIN": "",
    "END": "",
    "WORDS": "((s.head + 1) / 2)",
    "PACK": """if (from == 0) pair_channels(query, s->query_plane, s->head, words->query, row, vectors * LANES);
        if (words->packed != key + from) {
            int end = from + KEYS < s->keys ? from + KEYS : s->keys;
            pair_channels(key + from, s->key_plane, s->head, words->key, KEYS, end - from);
            pair_positions(value + from, s->value_plane, HEAD, words->value, KEYS / 2, end - from);
            words->packed = key + from;
        }
""",
    "SCORES": "PRODUCT(words->key, 1, KEYS, words->query, row, (s->head + 1) / 2, 0, scores, row, rows, vectors);",
    "ADD": """PRODUCT(words->value, KEYS / 2, 1, (const int32_t *)scores, row, (to_key - from + 1) / 2, from > 0, sums,
                row, HEAD, vectors);""",
}

_TILES = {
    "BEGIN": "begin_tiles();",
    "END": "end_tiles();",
    "WORDS": "whole_tiles((s.head + 1) / 2)",
    "PACK": """int depth = whole_tiles((s->head + 1) / 2);
        if (from == 0) {
            pair_channels(query, s->query_plane, s->head, words->query, row, vectors * LANES);
            clear_rows(words->query, row, (s->head + 1) / 2, vectors * LANES);
        }
        if (words->packed != key + from) {
            int end = from + KEYS < s->keys ? from + KEYS : s->keys;
            pair_channels_by_position(key + from, s->key_plane, s->head, words->key, depth, end - from);
            pair_positions(value + from, s->value_plane, HEAD, words->value, KEYS / 2, end - from);
            clear_rows(words->value, KEYS / 2, HEAD, KEYS / 2);
            words->packed = key + from;
        }
""",
    "SCORES": "PRODUCT(words->key, depth, 1, words->query, row, depth, 0, scores, row, rows, vectors);",
    "ADD": """{
                clear_rows((int32_t *)scores, row, (to_key - from + 1) / 2, vectors * LANES);
                PRODUCT(words->value, KEYS / 2, 1, (const int32_t *)scores, row, whole_tiles((to_key - from + 1) / 2),
                        from > 0, sums, row, CHANNELS, vectors);
            }""",
}

_TEXT = """
/* Store what is summed divided by the sums of exponentials; only true queries are written. */
INLINE void NAME_finish(const attention_shape *s, const float *sums, const vector *sum, float *to, int vectors,
                        int queries) {
    for (int t = 0; t < vectors; t++) {
        vector scale = select(sum[t] > 0.0f, s->total / sum[t], splat(0.0f));
        int left = queries - t * LANES;
        for (int d = 0; d < HEAD; d++) {
            vector v = load(sums + (d * VECTORS + t) * LANES) * scale;
            store_part(to + d * s->out_plane + t * LANES, v, left);
        }
    }
}

static void NAME_tile(const attention_shape *s, attention_words *words, const float *query, const float *key,
                      const float *value, const float *mask, float *to, int first, int vectors) {
    enum { row = VECTORS * LANES };
    float scores[(KEYS + ROWS) * row] __attribute__((aligned(64))), sums[CHANNELS * row] __attribute__((aligned(64)));
    vector top[VECTORS], sum[VECTORS];
    for (int t = 0; t < vectors; t++) top[t] = splat(-FLT_MAX), sum[t] = splat(0.0f);
    int last = first + vectors * LANES + s->keys - s->queries, keys = s->causal && last < s->keys ? last : s->keys;
    for (int pass = POLYNOMIAL && keys > KEYS ? 0 : 1; pass < 2; pass++)
        for (int from = 0; from < keys; from += KEYS) {
            int to_key = from + KEYS < keys ? from + KEYS : keys, rows = (to_key - from + ROWS - 1) / ROWS * ROWS;
            PACK
            SCORES
            for (int t = 0; t < vectors; t++) {
                float *at = scores + t * LANES, unit = masked(s, at, row, mask, from, to_key, first + t * LANES);
                if (!pass) {
                    top[t] = larger_of(top[t], largest(at, row, to_key - from) * unit);
                    continue;
                }
                vector loss = softmax(at, row, unit, to_key - from, HALF, POLYNOMIAL, top + t, sum + t);
                if (from)
                    for (int d = 0; d < HEAD; d++) {
                        float *old = sums + (d * VECTORS + t) * LANES;
                        store(old, load(old) * loss);
                    }
            }
            if (pass) ADD
        }
    (void)words;
    NAME_finish(s, sums, sum, to, vectors, s->queries - first);
}

static void NAME(worker w, attention_shape s, const float *query, const float *key, const float *value,
                 const float *mask, float *to) {
    int left = s.queries % LANES, alone = left <= MOST_ALONE ? left : 0, all = (s.queries - alone + LANES - 1) / LANES;
    int tiles = (all + VECTORS - 1) / VECTORS, width = tiles ? (all + tiles - 1) / tiles : 0;
    int groups = alone / GROUP, items = tiles + groups + alone % GROUP;
    int channels = WORDS; /* words of a query or key */
    int32_t query_words[channels * VECTORS * LANES + 1] __attribute__((aligned(64)));
    int32_t key_words[channels * KEYS + 1] __attribute__((aligned(64)));
    int32_t value_words[HALF * CHANNELS * KEYS / 2 + 1] __attribute__((aligned(64)));
    attention_words words = {query_words, key_words, value_words, 0};
    range own = share(w, s.windows * s.heads * items);
    BEGIN
    for (int item = own.from; item < own.to; item++) {
        int tile = item % items, head = item / items % s.heads, window = item / items / s.heads;
        int group = tile - tiles, vectors = tile * width + width < all ? width : all - tile * width;
        int first = tile * width * LANES, grouped = group < groups ? group : groups;
        if (group >= 0) first = s.queries - alone + group + grouped * (GROUP - 1);
        ptrdiff_t shared = head / s.group, at = (ptrdiff_t)window * s.queries + first;
        const float *own_query = query + head * s.head * s.query_plane + at;
        const float *own_key = key + shared * s.head * s.key_plane + (ptrdiff_t)window * s.keys;
        const float *own_value = value + shared * HEAD * s.value_plane + (ptrdiff_t)window * s.keys;
        const float *own_mask = mask ? mask + window * s.mask_window + head * s.mask_head : 0;
        float *out = to + head * HEAD * s.out_plane + at;
        if (group >= groups) NAME_few_1(&s, own_query, own_key, own_value, own_mask, out, first);
        else if (group >= 0) NAME_few_GROUP(&s, own_query, own_key, own_value, own_mask, out, first);
        else if (vectors > 0) NAME_tile(&s, &words, own_query, own_key, own_value, own_mask, out, first, vectors);
    }
    END
}
"""
