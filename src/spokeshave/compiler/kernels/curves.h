/* Activations that end in bytes, as curves (compiler/quantization/curves.py): a layer's values come in places along the
   curve, whose table holds the three coefficients of a parabola for each of 32 segments, the constant ones first. */
#define CURVE_SEGMENTS 32
#if defined(__AVX512BW__) && LANES == 16
INLINE halves looked_up(const int16_t *table, halves segment) {
    halves found, all;
    memcpy(&all, table, sizeof all);
    __asm__("vpermw %2, %1, %0" : "=v"(found) : "v"(segment), "v"(all));
    return found;
}
INLINE halves times_share(halves a, halves b) { /* in units of 2^-15 */
    __asm__("vpmulhrsw %2, %1, %0" : "=v"(a) : "v"(a), "v"(b));
    return a;
}
INLINE lanes_mask whole_of(vector v) { /* the least number where it is too large, or NaN */
    lanes_mask found;
    __asm__("vcvtps2dq %1, %0" : "=v"(found) : "v"(v));
    return found;
}
INLINE halves along_curve(vector a, vector b, const int16_t *curve) {
    halves place, c[3];
    __asm__("vpackssdw %2, %1, %0" : "=v"(place) : "v"(whole_of(a)), "v"(whole_of(b)));
    halves segment = (halves)((unsigned_halves)place >> 11), within = (place << 4) & 0x7FFF;
    for (int i = 0; i < 3; i++) c[i] = looked_up(curve + i * CURVE_SEGMENTS, segment);
    return (times_share(times_share(c[2], within) + c[1], within) + c[0]) >> 7;
}
INLINE lanes_mask curve_word(vector a, vector b, vector c, vector d, const int16_t *curve) {
    const bytes_of_words in_turn = {IN_TURN, IN_TURN, IN_TURN, IN_TURN};
    lanes_mask all;
    __asm__("vpackuswb %2, %1, %0" : "=v"(all) : "v"(along_curve(a, b, curve)), "v"(along_curve(c, d, curve)));
    __asm__("vpshufb %2, %1, %0" : "=v"(all) : "v"(all), "v"(in_turn));
    return all;
}
#else
INLINE int32_t times_share(int32_t a, int32_t b) { return (a * b + (1 << 14)) >> 15; }
INLINE lanes_mask along_curve(vector v, const int16_t *curve) {
    lanes_mask levels;
    for (int i = 0; i < LANES; i++) {
        int32_t place = (int32_t)lrintf(clamped(v, -32768.0f, 32767.0f)[i]), within = (place & 2047) << 4;
        const int16_t *c = curve + (place >> 11 & (CURVE_SEGMENTS - 1));
        int32_t slope = times_share(c[2 * CURVE_SEGMENTS], within) + c[CURVE_SEGMENTS];
        int32_t level = (times_share(slope, within) + c[0]) >> 7;
        levels[i] = level < 0 ? 0 : level > 255 ? 255 : level;
    }
    return levels;
}
INLINE lanes_mask curve_word(vector a, vector b, vector c, vector d, const int16_t *curve) {
    return word_of(along_curve(a, curve), along_curve(b, curve), along_curve(c, curve), along_curve(d, curve));
}
#endif
