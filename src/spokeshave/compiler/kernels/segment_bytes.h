/* The integer form of segments.h: byte i of what is picked is p[place i]. A place is the lowest bits of its byte; what
   lies above them is not looked at. */
INLINE lanes_mask load_table(const uint8_t *p) {
    lanes_mask table;
    memcpy(&table, p, sizeof table);
    return table;
}
#if defined(__AVX512BW__) && LANES == 16
INLINE lanes_mask repeated_16(const uint8_t *p) { /* sixteen bytes over and over */
    lanes_mask table;
    __asm__("vbroadcasti32x4 %1, %0" : "=v"(table) : "m"(*(const uint8_t(*)[16])p));
    return table;
}
#elif defined(__AVX2__) && LANES == 8
INLINE lanes_mask repeated_16(const uint8_t *p) {
    lanes_mask table;
    __asm__("vbroadcasti128 %1, %0" : "=x"(table) : "m"(*(const uint8_t(*)[16])p));
    return table;
}
#endif
#if defined(__AVX512VBMI__) && defined(__AVX512BW__) && LANES == 16
INLINE lanes_mask permuted(lanes_mask table, lanes_mask places) {
    lanes_mask picked;
    __asm__("vpermb %2, %1, %0" : "=v"(picked) : "v"(places), "v"(table));
    return picked;
}
INLINE lanes_mask pick_bytes_16(const uint8_t *p, lanes_mask places) { return permuted(repeated_16(p), places); }
INLINE lanes_mask pick_bytes_64(const uint8_t *p, lanes_mask places) { return permuted(load_table(p), places); }
INLINE lanes_mask pick_bytes_128(const uint8_t *p, lanes_mask places) {
    __asm__("vpermi2b %2, %1, %0" : "+v"(places) : "v"(load_table(p)), "v"(load_table(p + 64)));
    return places;
}
#elif (defined(__AVX512BW__) && LANES == 16) || (defined(__AVX2__) && LANES == 8)
INLINE lanes_mask pick_bytes_16(const uint8_t *p, lanes_mask places) {
    lanes_mask picked;
    __asm__("vpshufb %2, %1, %0" : "=v"(picked) : "v"(repeated_16(p)), "v"(places & 0x0F0F0F0F));
    return picked;
}
INLINE lanes_mask either_byte(lanes_mask places, int bit, lanes_mask yes, lanes_mask no) { /* `yes` where it is set */
    lanes_mask chosen;
#if LANES == 16
    uint64_t mask;
    __asm__("vpmovb2m %1, %0" : "=Yk"(mask) : "v"(places << (7 - bit)));
    __asm__("vpblendmb %2, %1, %0%{%3%}" : "=v"(chosen) : "v"(no), "v"(yes), "Yk"(mask));
#else
    __asm__("vpblendvb %3, %2, %1, %0" : "=x"(chosen) : "x"(no), "x"(yes), "x"(places << (7 - bit)));
#endif
    return chosen;
}
INLINE lanes_mask pick_bytes_32(const uint8_t *p, lanes_mask places) {
    return either_byte(places, 4, pick_bytes_16(p + 16, places), pick_bytes_16(p, places));
}
INLINE lanes_mask pick_bytes_64(const uint8_t *p, lanes_mask places) {
    return either_byte(places, 5, pick_bytes_32(p + 32, places), pick_bytes_32(p, places));
}
INLINE lanes_mask pick_bytes_128(const uint8_t *p, lanes_mask places) {
    return either_byte(places, 6, pick_bytes_64(p + 64, places), pick_bytes_64(p, places));
}
#elif defined(__aarch64__) && LANES == 4
#include <arm_neon.h>
INLINE lanes_mask pick_bytes_16(const uint8_t *p, lanes_mask places) {
    return (lanes_mask)vqtbl1q_u8(vld1q_u8(p), (uint8x16_t)(places & 0x0F0F0F0F));
}
INLINE lanes_mask pick_bytes_64(const uint8_t *p, lanes_mask places) { /* which are whole bytes */
    return (lanes_mask)vqtbl4q_u8(vld1q_u8_x4(p), (uint8x16_t)places);
}
#else /* for code of a CPU that can, built for any */
#define PICK_BYTES_ONE_BY_ONE(length)                                                  \
    INLINE lanes_mask pick_bytes_##length(const uint8_t *p, lanes_mask places) {       \
        uint8_t place[VECTOR_BYTES], picked[VECTOR_BYTES];                             \
        memcpy(place, &places, sizeof place);                                          \
        for (int i = 0; i < VECTOR_BYTES; i++) picked[i] = p[place[i] & (length - 1)]; \
        return load_table(picked);                                                     \
    }
PICK_BYTES_ONE_BY_ONE(16)
PICK_BYTES_ONE_BY_ONE(64)
PICK_BYTES_ONE_BY_ONE(128)
#endif

/* Rows in an order of their own: `numbers` says where each lane belongs; `count` as in integer.h. */
#define EACH_NUMBER for (int i = 0; i < LANES && i < count; i++)
INLINE void scatter_bytes(uint8_t *to, lanes_mask v, const int32_t *numbers, int count) {
    EACH_NUMBER to[numbers[i]] = (uint8_t)v[i];
}
INLINE void scatter_some(float *to, vector v, const int32_t *numbers, int count) { EACH_NUMBER to[numbers[i]] = v[i]; }
INLINE vector gather_bytes(const uint8_t *from, const int32_t *numbers, int count) {
    vector v = {0};
    EACH_NUMBER v[i] = from[numbers[i]];
    return v;
}
INLINE vector gather_some(const float *from, const int32_t *numbers, int count) {
    vector v = {0};
    EACH_NUMBER v[i] = from[numbers[i]];
    return v;
}
