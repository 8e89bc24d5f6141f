/* Tokens that stay by their scores. What is removed is dropped, or its mean is one token more at the end. */
enum { DROP, PACKAGE, MERGE };
typedef struct {
    float threshold;
    int count, leading, packages, rest; /* count: how many of those with a score stay, or -1 where the threshold decides */
} selection;

/* Whether each of `n` scores stays: those at or above the threshold, or the largest, of equal ones the first. */
INLINE void choose_by_score(const float *scores, int n, selection s, int32_t *stays) {
    for (int i = 0; i < n; i++) {
        int before = 0;
        if (s.count >= 0)
            for (int j = 0; j < n; j++) before += scores[j] > scores[i] || (scores[j] == scores[i] && j < i);
        stays[i] = s.count < 0 ? scores[i] >= s.threshold : before < s.count;
    }
}

/* The places of the tokens that stay; returns how many these are. Of those that go, `weight` becomes what their mean
   takes of each, of the others 0. */
INLINE int places_of(const float *scores, int tokens, selection s, int32_t *place, float *weight) {
    const float smallest = 1e-6f; /* below this sum of scores the mean is a plain one */
    int scored = tokens - s.leading - s.packages, left = 0, gone = 0;
    float total = 0.0f;
    int32_t stays[tokens];
    for (int i = 0; i < tokens; i++) stays[i] = i < s.leading || s.rest != MERGE;
    choose_by_score(scores, scored, s, stays + s.leading);
    for (int i = 0; i < tokens; i++) { /* without branches, which nothing could foretell */
        float score = i < s.leading ? 0.0f : scores[i - s.leading];
        place[left] = i, left += stays[i], gone += !stays[i];
        weight[i] = stays[i] ? 0.0f : score;
        total += weight[i];
    }
    float scale = total > smallest ? 1.0f / total : 0.0f, plain = total > smallest ? 0.0f : 1.0f / (float)gone;
    for (int i = 0; i < tokens; i++) weight[i] = stays[i] ? 0.0f : weight[i] * scale + plain;
    if (left == 0 && s.rest == DROP) { /* the token with the largest score */
        place[0] = 0;
        for (int i = 1; i < tokens; i++)
            if (scores[i] > scores[place[0]]) place[0] = i;
        left = 1;
    }
    return left;
}

/* The mean of the tokens that go, channel by channel, to lane `at` of each plane; a vector of channels is summed at once. */
INLINE void package(const float *x, ptrdiff_t plane, float *y, ptrdiff_t y_plane, int planes, const float *weight, int n,
                    int at) {
    for (int c = 0; c < planes; c += LANES) {
        int some = planes - c < LANES ? planes - c : LANES;
        vector sums[LANES] = {{0}};
        for (int d = 0; d < some; d++) {
            const float *from = x + (c + d) * plane;
            vector sum = splat(0.0f);
            int i = 0;
            for (; i + LANES <= n; i += LANES) sum += load(weight + i) * load(from + i);
            sums[d] = i < n ? sum + load_part(weight + i, n - i) * load_part(from + i, n - i) : sum;
        }
        vector total = sums_of_lanes(sums);
        for (int d = 0; d < some; d++) y[(c + d) * y_plane + at] = total[d];
    }
}

#if defined(__AVX512F__) && LANES == 16
/* The lanes of a mask side by side, zeros behind. */
INLINE vector packed(vector v, uint16_t mask) {
    vector side_by_side;
    __asm__("vcompressps %1, %0 %{%2%}%{z%}" : "=v"(side_by_side) : "v"(v), "Yk"(mask));
    return side_by_side;
}

/* Elements of planes by their places, which rise: vector by vector, so what is written is never behind what is read. */
INLINE void gather(const float *x, ptrdiff_t plane, float *y, ptrdiff_t y_plane, int planes, const int32_t *place, int n) {
    int vectors = n ? place[n - 1] / LANES + 1 : 0;
    uint16_t mask[vectors + 1];
    int32_t first[vectors + 1]; /* where a vector's elements begin */
    for (int v = 0; v < vectors; v++) mask[v] = 0;
    for (int i = n - 1; i >= 0; i--) mask[place[i] / LANES] |= (uint16_t)(1 << place[i] % LANES), first[place[i] / LANES] = i;
    for (int c = 0; c < planes; c++, x += plane, y += y_plane)
        for (int v = 0; v < vectors; v++) {
            if (!mask[v]) continue;
            vector found = packed(load(x + v * LANES), mask[v]);
            int room = (int)y_plane - first[v];
            if (room >= LANES) store(y + first[v], found);
            else for (int l = 0; l < room; l++) y[first[v] + l] = found[l];
        }
}
#else
/* Elements of planes by their places, which are read once for four planes: faster than the CPU's own gathers. */
INLINE void gather(const float *x, ptrdiff_t plane, float *y, ptrdiff_t y_plane, int planes, const int32_t *place, int n) {
    int c = 0;
    for (; c + 4 <= planes; c += 4, x += 4 * plane, y += 4 * y_plane)
        for (int i = 0; i < n; i++) {
            const float *from = x + place[i];
            y[i] = from[0], y[i + y_plane] = from[plane];
            y[i + 2 * y_plane] = from[2 * plane], y[i + 3 * y_plane] = from[3 * plane];
        }
    for (; c < planes; c++, x += plane, y += y_plane)
        for (int i = 0; i < n; i++) y[i] = x[place[i]];
}
#endif

/* Planes of `tokens` lanes to planes of those that stay, whose number goes to `counted` and, unless it is null, to
   `length`. Every worker finds the places by itself. */
static void select_tokens(worker w, const float *x, ptrdiff_t plane, const float *scores, float *y, ptrdiff_t y_plane,
                          float *counted, int tokens, int channels, selection s, int *length) {
    int32_t place[tokens];
    float weight[tokens];
    int left = places_of(scores, tokens, s, place, weight), all = left + (s.rest != DROP);
    range own = share(w, channels);
    gather(x + own.from * plane, plane, y + own.from * y_plane, y_plane, own.to - own.from, place, left);
    if (s.rest != DROP)
        package(x + own.from * plane, plane, y + own.from * y_plane, y_plane, own.to - own.from, weight, tokens, left);
    for (int c = own.from; c < own.to; c++)
        for (int i = all; i % LANES; i++) y[c * y_plane + i] = 0.0f;
    if (w.index > 0) return;
    *counted = (float)all;
    if (length) *length = all;
}
