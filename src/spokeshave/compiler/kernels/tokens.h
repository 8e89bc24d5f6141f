/* What transformers read by number: rows of tables, elements at constant places, choices. */

/* Elements of one axis at constant places, `taken` of them; up to three other axes are gone over whole. */
static void take(worker w, const float *from, float *to, const int32_t *places, int taken, ptrdiff_t f, ptrdiff_t t, int n0,
                 ptrdiff_t f0, ptrdiff_t t0, int n1, ptrdiff_t f1, ptrdiff_t t1, int n2, ptrdiff_t f2, ptrdiff_t t2) {
    range a = share_axis(w, 0, n0, n1, n2, taken), b = share_axis(w, 1, n0, n1, n2, taken);
    range c = share_axis(w, 2, n0, n1, n2, taken), d = share_axis(w, 3, n0, n1, n2, taken);
    for (int i = a.from; i < a.to; i++)
        for (int j = b.from; j < b.to; j++)
            for (int k = c.from; k < c.to; k++) {
                const float *in = from + i * f0 + j * f1 + k * f2;
                float *out = to + i * t0 + j * t1 + k * t2;
                for (int l = d.from; l < d.to; l++) out[l * t] = in[places[l] * f];
            }
}

/* Rows of a table into planes, a block of tokens at a time. A number outside the table reads row 0 and leaves `step` in
   `fault`, by which the caller knows. */
static void embed(worker w, const int64_t *numbers, const float *table, int64_t rows, float *to, int channels,
                  ptrdiff_t plane, ptrdiff_t next, int tokens, int step, int *fault) {
    range own = share(w, (tokens + LANES - 1) / LANES);
    for (int first = own.from * LANES; first < tokens && first < own.to * LANES; first += LANES) {
        const float *row[LANES];
        int count = tokens - first < LANES ? tokens - first : LANES;
        for (int i = 0; i < count; i++) {
            int64_t number = numbers[first + i];
            if (number < 0 || number >= rows) {
                __atomic_store_n(fault, step, __ATOMIC_RELAXED);
                number = 0;
            }
            row[i] = table + number * channels;
        }
        for (int c = 0; c < channels; c++)
            for (int i = 0; i < count; i++) to[c * plane + (first + i) * next] = row[i][c];
    }
}

/* A map cut into `down` rows of `across` patches: plane (c, y, x) takes element (y, x) of channel c of every patch, behind
   `before` zeros. */
static void patches(worker w, const float *from, ptrdiff_t from_plane, ptrdiff_t from_row, float *to, ptrdiff_t plane,
                    int channels, int height, int width, int down, int across, int before) {
    range own = share(w, channels * height);
    for (int i = own.from; i < own.to; i++) {
        const float *rows = from + i / height * from_plane + i % height * from_row;
        float *out = to + (ptrdiff_t)i * width * plane;
        for (int x = 0; x < width; x++)
            for (int t = 0; t < before; t++) out[x * plane + t] = 0.0f;
        for (int y = 0; y < down; y++)
            turn(rows + (ptrdiff_t)y * height * from_row, width, out + before + y * across, plane, width, across);
    }
}

/* Whole numbers as floats; with `truth`, 1 for every number but 0. */
static void convert(worker w, const int64_t *from, float *to, int truth, int n0, ptrdiff_t f0, ptrdiff_t t0, int n1,
                    ptrdiff_t f1, ptrdiff_t t1, int n2, ptrdiff_t f2, ptrdiff_t t2, int n3, ptrdiff_t f3, ptrdiff_t t3) {
    range a = share_axis(w, 0, n0, n1, n2, n3), b = share_axis(w, 1, n0, n1, n2, n3);
    range c = share_axis(w, 2, n0, n1, n2, n3), d = share_axis(w, 3, n0, n1, n2, n3);
    for (int i = a.from; i < a.to; i++)
        for (int j = b.from; j < b.to; j++)
            for (int k = c.from; k < c.to; k++)
                for (int l = d.from; l < d.to; l++) {
                    int64_t number = from[i * f0 + j * f1 + k * f2 + l * f3];
                    to[i * t0 + j * t1 + k * t2 + l * t3] = truth ? (float)(number != 0) : (float)number;
                }
}

/* One of two numbers, or of two values of the condition's layout; the stride of a number's plane is 0. */
static void where(worker w, const float *condition, const float *yes, ptrdiff_t yes_plane, const float *no,
                  ptrdiff_t no_plane, float *to, int channels, ptrdiff_t plane, int lanes, const int32_t *mask) {
    extent own = share_extent(w, channels, lanes);
    EACH_VECTOR(own, c, i) {
        vector truth = load(condition + c * plane + i);
        store_masked(to + c * plane + i, select(truth != 0.0f, load(yes + c * yes_plane + i), load(no + c * no_plane + i)), mask + i);
    }
}
