/* Operands of attention as tile registers take them: whole tiles, filled up with zeros. */

INLINE int whole_tiles(int count) { return (count + TILE - 1) / TILE * TILE; }

/* Two channels of a position to a word, the words of a position side by side: `row` of them, a whole number of tiles. */
INLINE void pair_channels_by_position(const float *from, ptrdiff_t plane, int channels, int32_t *to, int row,
                                      int positions) {
    for (int i = 0; i < positions; i += TILE)
        for (int word = 0; word < row; word += TILE) {
            vector turned[TILE];
            for (int k = 0; k < TILE; k++) {
                int c = 2 * (word + k);
                vector first = c < channels ? load_part(from + c * plane + i, positions - i) : splat(0.0f);
                vector second = c + 1 < channels ? load_part(from + (c + 1) * plane + i, positions - i) : splat(0.0f);
                turned[k] = (vector)pair_of(first, second);
            }
            transpose(turned);
            for (int k = 0; k < TILE; k++) store((float *)(to + (i + k) * row + word), turned[k]);
        }
}

/* Rows of words from `from` to the end of their tile. */
INLINE void clear_rows(int32_t *words, ptrdiff_t row, int from, int width) {
    for (int i = from; i < whole_tiles(from); i++) memset(words + i * row, 0, (size_t)width * sizeof *words);
}
