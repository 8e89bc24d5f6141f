"""C text of attention for a few queries: those left when whole vectors of them are full, and single ones behind a past.

Keys are lanes: no lane is left empty, and keys and values are read as they lie. Several queries share what is loaded.
"""

from collections.abc import Sequence

from spokeshave.compiler.kernels.instances import AttentionKernel

GROUP = 4  # queries that share a load; 4 x 4 sums fit into the registers
VECTORS = 4  # of keys, or channels of values


def query_groups(kernel: AttentionKernel) -> tuple[int, ...]:
    """How many queries go together, the most first; in bfloat16 whole tiles are faster unless they are nearly empty."""
    return (1,) if kernel.product.half else (GROUP, 1)


def few_functions(kernel: AttentionKernel, keys: int) -> str:
    """One function for each number of queries; scores of `keys` keys are made at a time."""
    return "".join(_few(kernel, queries, keys) for queries in query_groups(kernel))


def _few(kernel: AttentionKernel, queries: int, keys: int) -> str:
    text = "".join(_scores(kernel, queries, vectors, keys) for vectors in (VECTORS, 1))
    text += "".join(_weighed(kernel, queries, channels, keys) for channels in (VECTORS, 1)) + _TEXT
    names = {
        "QUERIES": queries,
        "KEYS": keys,
        "HEAD": kernel.head,
        "VECTORS": VECTORS,
        "HALF": int(kernel.product.half),
        "POLYNOMIAL": int(kernel.polynomial),
        "NAME": kernel.name,
    }
    for name, meaning in names.items():
        text = text.replace(name, str(meaning))
    return text


def _scores(kernel: AttentionKernel, queries: int, vectors: int, keys: int) -> str:
    """Scores of some queries and vectors of keys."""
    lines = [f"        vector x{v} = operand(load(key + {v} * LANES), HALF);" for v in range(vectors)]
    for q in range(queries):
        sums = " ".join(f"a{q}_{v} += f * x{v};" for v in range(vectors))
        lines.append(f"        {{ vector f = operand(splat(query[{q}]), HALF); {sums} }}")
    body = "\n".join(lines)
    stores = "\n".join(
        f"    store(scores + {q * keys} + {v} * LANES, a{q}_{v});"
        for q in range(queries)
        for v in range(vectors)
    )
    return f"""
static void NAME_scores_{queries}_{vectors}(const attention_shape *s, const float *query, const float *key,
                                  float *scores) {{
    vector {_zeros(range(queries), range(vectors))};
    for (int c = 0; c < s->head; c++, query += s->query_plane, key += s->key_plane) {{
{body}
    }}
{stores}
}}
"""


def _weighed(kernel: AttentionKernel, queries: int, channels: int, keys: int) -> str:
    """Some channels of values times the exponentials of some queries; the sums are left in lanes."""

    def body(load: str) -> str:
        lines = [f"        vector e{q} = load(scores + {q * keys} + i);" for q in range(queries)]
        for d in range(channels):
            sums = " ".join(f"a{q}_{d} += e{q} * x;" for q in range(queries))
            at = f"value + {d} * s->value_plane + i"
            lines.append(f"        {{ vector x = operand({load.format(at)}, HALF); {sums} }}")
        return "\n".join(lines)

    stores = "\n".join(
        f"    parts[{q} * LANES + {d}] = a{q}_{d};" for q in range(queries) for d in range(channels)
    )
    return f"""
static void NAME_weighed_{queries}_{channels}(const attention_shape *s, const float *value, const float *scores,
                                   int keys, vector *parts) {{
    vector {_zeros(range(queries), range(channels))};
    int i = 0;
    for (; i + LANES <= keys; i += LANES) {{
{body("load({})")}
    }}
    if (i < keys) {{
{body("load_part({}, keys - i)")}
    }}
{stores}
}}
"""


def _zeros(rows: Sequence[int], columns: Sequence[int]) -> str:
    return ", ".join(f"a{row}_{column} = {{0}}" for row in rows for column in columns)


_TEXT = """
/* The queries from number `which` on. */
static void NAME_few_QUERIES(const attention_shape *s, const float *query, const float *key, const float *value,
                             const float *mask, float *to, int which) {
    float scores[QUERIES * KEYS] __attribute__((aligned(64))), sums[QUERIES][HEAD + LANES] = {{0}};
    float top[QUERIES], sum[QUERIES] = {0}, loss[QUERIES];
    int last = which + s->keys - s->queries + 1, most = last + QUERIES - 1;
    int keys = s->causal && most < s->keys ? most : s->keys;
    for (int q = 0; q < QUERIES; q++) top[q] = -FLT_MAX;
    for (int pass = POLYNOMIAL && keys > KEYS ? 0 : 1; pass < 2; pass++)
        for (int from = 0; from < keys; from += KEYS) {
            int count = from + KEYS < keys ? KEYS : keys - from, i = 0;
            for (; i + VECTORS * LANES <= count; i += VECTORS * LANES)
                NAME_scores_QUERIES_VECTORS(s, query, key + from + i, scores + i);
            for (; i < count; i += LANES) NAME_scores_QUERIES_1(s, query, key + from + i, scores + i);
            for (int q = 0; q < QUERIES; q++) {
                int seen = s->causal && last + q < keys ? last + q - from : count;
                const float *own = mask ? mask + from * s->mask_key + (s->mask_query ? which + q : 0) : 0;
                float *at = scores + q * KEYS, best = scaled_of_one(s, at, own, count, seen, top[q]);
                if (pass) loss[q] = softmax_of_one(at, count, HALF, POLYNOMIAL, best, top + q, sum + q);
                else top[q] = best;
            }
            for (int d = 0; pass && d < HEAD; d += LANES) {
                vector parts[QUERIES * LANES] = {{0}};
                for (i = 0; i + VECTORS <= LANES && d + i + VECTORS <= HEAD; i += VECTORS)
                    NAME_weighed_QUERIES_VECTORS(s, value + from + (d + i) * s->value_plane, scores, count, parts + i);
                for (; i < LANES && d + i < HEAD; i++)
                    NAME_weighed_QUERIES_1(s, value + from + (d + i) * s->value_plane, scores, count, parts + i);
                for (int q = 0; q < QUERIES; q++)
                    store(sums[q] + d, load(sums[q] + d) * loss[q] + sums_of_lanes(parts + q * LANES));
            }
        }
    for (int q = 0; q < QUERIES; q++) {
        float scale = sum[q] > 0.0f ? s->total / sum[q] : 0.0f;
        for (int d = 0; d < HEAD; d++) to[d * s->out_plane + q] = sums[q][d] * scale;
    }
}
"""
