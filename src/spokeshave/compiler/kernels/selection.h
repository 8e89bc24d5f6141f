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
    for (int i = 0; i < tokens; i++) {
        float score = i < s.leading ? 0.0f : scores[i - s.leading];
        if (stays[i]) place[left++] = i;
        else gone++, total += score;
        weight[i] = stays[i] ? 0.0f : score;
    }
    for (int i = 0; i < tokens; i++)
        if (!stays[i]) weight[i] = total > smallest ? weight[i] / total : 1.0f / (float)gone;
    if (left == 0 && s.rest == DROP) { /* the token with the largest score */
        place[0] = 0;
        for (int i = 1; i < tokens; i++)
            if (scores[i] > scores[place[0]]) place[0] = i;
        left = 1;
    }
    return left;
}

INLINE float weighed(const float *weight, const float *x, int n) {
    vector sum = splat(0.0f);
    for (int i = 0; i < n; i += LANES) sum += load_part(weight + i, n - i) * load_part(x + i, n - i);
    float total = 0.0f;
    for (int l = 0; l < LANES; l++) total += sum[l];
    return total;
}

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

/* Planes of `tokens` lanes to planes of those that stay, whose number goes to `counted` and, unless it is null, to
   `length`. Every worker finds the places by itself. */
static void select_tokens(worker w, const float *x, ptrdiff_t plane, const float *scores, float *y, ptrdiff_t y_plane,
                          float *counted, int tokens, int channels, selection s, int *length) {
    int32_t place[tokens];
    float weight[tokens];
    int left = places_of(scores, tokens, s, place, weight), all = left + (s.rest != DROP);
    range own = share(w, channels);
    gather(x + own.from * plane, plane, y + own.from * y_plane, y_plane, own.to - own.from, place, left);
    for (int c = own.from; c < own.to; c++) {
        const float *from = x + c * plane;
        float *to = y + c * y_plane;
        if (s.rest != DROP) to[left] = weighed(weight, from, tokens);
        for (int i = all; i % LANES; i++) to[i] = 0.0f;
    }
    if (w.index > 0) return;
    *counted = (float)all;
    if (length) *length = all;
}
