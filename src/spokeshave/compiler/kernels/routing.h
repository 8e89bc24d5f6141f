/* The largest channels of every token, and products with the matrices that tokens choose. */

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

#define SELECTED_ROWS 4
#define SELECTED_TOKENS 4

/* Up to four rows of a matrix times up to four tokens: dot products along the row. */
INLINE void selected_tile(const float *matrix, int rows, int width, const float *const *tokens, int count, float *const *to) {
    vector sums[SELECTED_ROWS][SELECTED_TOKENS] = {0};
    int i = 0;
    for (; i + LANES <= width; i += LANES)
        for (int r = 0; r < rows; r++) {
            vector v = load(matrix + (ptrdiff_t)r * width + i);
            for (int t = 0; t < count; t++) sums[r][t] += v * load(tokens[t] + i);
        }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < count; t++) {
            float total = 0.0f;
            for (int l = 0; l < LANES; l++) total += sums[r][t][l];
            for (int j = i; j < width; j++) total += matrix[(ptrdiff_t)r * width + j] * tokens[t][j];
            to[t][r] = total;
        }
}

static void selected_rows(const float *matrix, int rows, int width, const float *const *tokens, int count, float *const *to) {
    if (rows == SELECTED_ROWS && count == SELECTED_TOKENS) selected_tile(matrix, SELECTED_ROWS, width, tokens, SELECTED_TOKENS, to);
    else if (rows == SELECTED_ROWS && count == 1) selected_tile(matrix, SELECTED_ROWS, width, tokens, 1, to);
    else
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < count; t++) selected_tile(matrix + (ptrdiff_t)r * width, 1, width, tokens + t, 1, (float *[]){to[t] + r});
}

/* Row-major tokens, each times the matrix that its number names; workers share out the rows of every matrix. A number
   outside leaves `step` in `fault`, by which the caller knows. */
static void selected_linear(worker w, const float *numbers, const float *matrices, const float *from, float *to, int matrix_count,
                            int rows, int width, int tokens, int step, int *fault) {
    range own = share(w, (rows + SELECTED_ROWS - 1) / SELECTED_ROWS);
    for (int t = 0; t < tokens; t++)
        if (!(numbers[t] >= 0.0f && numbers[t] < (float)matrix_count)) __atomic_store_n(fault, step, __ATOMIC_RELAXED);
    for (int m = 0; m < matrix_count; m++)
        for (int block = own.from; block < own.to; block++) {
            int first = block * SELECTED_ROWS, count = rows - first < SELECTED_ROWS ? rows - first : SELECTED_ROWS;
            const float *matrix = matrices + ((ptrdiff_t)m * rows + first) * width, *read[SELECTED_TOKENS];
            float *written[SELECTED_TOKENS];
            int gathered = 0;
            for (int t = 0; t < tokens; t++) {
                if (numbers[t] == (float)m) read[gathered] = from + (ptrdiff_t)t * width, written[gathered++] = to + (ptrdiff_t)t * rows + first;
                if (gathered == SELECTED_TOKENS || (gathered && t + 1 == tokens)) {
                    selected_rows(matrix, count, width, read, gathered, written);
                    gathered = 0;
                }
            }
        }
}
