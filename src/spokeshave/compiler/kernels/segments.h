/* Lane i of what is picked is p[place i]: a gather from a short segment of p that sits in registers. A place is the lowest
   bits of its lane; what lies above them is not looked at. */
#if defined(__AVX512DQ__) && LANES == 16
INLINE vector pick_16(const float *p, lanes_mask places) {
    vector picked;
    __asm__("vpermps %2, %1, %0" : "=v"(picked) : "v"(places), "v"(load(p)));
    return picked;
}
INLINE vector pick_32(const float *p, lanes_mask places) {
    __asm__("vpermi2ps %2, %1, %0" : "+v"(places) : "v"(load(p)), "v"(load(p + 16)));
    return (vector)places;
}
INLINE vector either(lanes_mask places, int bit, vector yes, vector no) { /* `yes` where the bit is set */
    uint16_t mask;
    vector chosen;
    __asm__("vpmovd2m %1, %0" : "=Yk"(mask) : "v"(places << (31 - bit)));
    __asm__("vblendmps %2, %1, %0%{%3%}" : "=v"(chosen) : "v"(no), "v"(yes), "Yk"(mask));
    return chosen;
}
#elif defined(__AVX2__) && LANES == 8
INLINE vector either(lanes_mask places, int bit, vector yes, vector no) {
    vector chosen;
    __asm__("vblendvps %3, %2, %1, %0" : "=x"(chosen) : "x"(no), "x"(yes), "x"(places << (31 - bit)));
    return chosen;
}
INLINE vector pick_8(const float *p, lanes_mask places) {
    vector picked;
    __asm__("vpermps %2, %1, %0" : "=x"(picked) : "x"(places), "x"(load(p)));
    return picked;
}
INLINE vector pick_16(const float *p, lanes_mask places) {
    return either(places, 3, pick_8(p + 8, places), pick_8(p, places));
}
INLINE vector pick_32(const float *p, lanes_mask places) {
    return either(places, 4, pick_16(p + 16, places), pick_16(p, places));
}
#else
#define PICK_ONE_BY_ONE(length)                                            \
    INLINE vector pick_##length(const float *p, lanes_mask places) {       \
        vector picked = {0};                                               \
        for (int i = 0; i < LANES; i++) picked[i] = p[places[i] & (length - 1)]; \
        return picked;                                                     \
    }
PICK_ONE_BY_ONE(16)
PICK_ONE_BY_ONE(32)
PICK_ONE_BY_ONE(64)
PICK_ONE_BY_ONE(128)
#define SEGMENTS_ONE_BY_ONE
#endif
#ifndef SEGMENTS_ONE_BY_ONE
INLINE vector pick_64(const float *p, lanes_mask places) {
    return either(places, 5, pick_32(p + 32, places), pick_32(p, places));
}
INLINE vector pick_128(const float *p, lanes_mask places) {
    return either(places, 6, pick_64(p + 64, places), pick_64(p, places));
}
#endif
