/* Planes of words: each as wide as a float, with four uint8 or two bfloat16 channels of one position. */
typedef uint32_t unsigned_lanes __attribute__((vector_size(VECTOR_BYTES)));

INLINE lanes_mask load_words(const int32_t *p) { return *(const unaligned_mask *)p; }
INLINE lanes_mask shifted_right(lanes_mask words, int bits) { return (lanes_mask)((unsigned_lanes)words >> bits); }
INLINE lanes_mask splat_word(int32_t s) {
    return s - (lanes_mask){0};
}
INLINE void store_word(int32_t *p, lanes_mask word, const int32_t *mask, int32_t gap) {
    lanes_mask inside = *(const unaligned_mask *)mask;
    *(unaligned_mask *)p = (word & inside) | (gap & ~inside);
}
