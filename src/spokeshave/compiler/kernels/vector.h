/* Vectors of LANES floats in the portable vector extension of gcc and clang; LANES is set by the build. */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VECTOR_BYTES (LANES * 4)
typedef float vector __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t lanes_mask __attribute__((vector_size(VECTOR_BYTES)));
typedef float unaligned_vector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t unaligned_mask __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

#ifndef EXPORT /* what a library shows; a plain-C artefact makes it static */
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))

INLINE vector load(const float *p) { return *(const unaligned_vector *)p; }
INLINE void store(float *p, vector v) { *(unaligned_vector *)p = v; }
/* Keeps a vector in its register: gcc would load it again for each of its uses. */
#if defined(__AVX512F__) && LANES == 16
#define HOLD(v) __asm__("" : "+v"(v))
#elif defined(__AVX__) && LANES == 8
#define HOLD(v) __asm__("" : "+x"(v))
#else
#define HOLD(v) (void)(v)
#endif
INLINE void store_masked(float *p, vector v, const int32_t *mask) {
    *(unaligned_mask *)p = (lanes_mask)v & *(const unaligned_mask *)mask;
}
/* The first `count` lanes alone; where that is all of them, it may be more. */
INLINE vector load_part(const float *p, int count) {
    vector v = {0};
    if (count >= LANES) return load(p);
#if defined(__AVX512F__) && LANES == 16
    __asm__("vmovups %1, %0%{%2%}%{z%}" : "=v"(v) : "m"(*(const unaligned_vector *)p), "Yk"((uint16_t)((1 << count) - 1)));
#else
    memcpy(&v, p, (size_t)count * sizeof(float));
#endif
    return v;
}
INLINE void store_part(float *p, vector v, int count) {
    if (count >= LANES) store(p, v);
#if defined(__AVX512F__) && LANES == 16
    else __asm__("vmovups %1, %0%{%2%}" : "+m"(*(unaligned_vector *)p) : "v"(v), "Yk"((uint16_t)((1 << count) - 1)));
#else
    else memcpy(p, &v, (size_t)count * sizeof(float));
#endif
}
/* Which lanes count: a predicate where the CPU has such, a mask elsewhere. */
#if defined(__AVX512F__) && LANES == 16
typedef uint16_t choice;
INLINE choice chosen(const int32_t *mask) {
    choice k;
    __asm__("vpmovd2m %1, %0" : "=Yk"(k) : "v"(*(const unaligned_mask *)mask));
    return k;
}
INLINE choice all_or_none(int32_t mask) { return (choice)mask; }
INLINE vector load_chosen(const float *p, choice k) {
    vector v;
    __asm__("vmovups %1, %0%{%2%}%{z%}" : "=v"(v) : "m"(*(const unaligned_vector *)p), "Yk"(k));
    return v;
}
INLINE vector add_chosen(vector sum, vector w, const float *x, choice k) { /* sum + w * x[0] */
    __asm__("vfmadd231ps %1%{1to16%}, %2, %0%{%3%}" : "+v"(sum) : "m"(*x), "v"(w), "Yk"(k));
    return sum;
}
#else
typedef lanes_mask choice;
INLINE choice chosen(const int32_t *mask) { return *(const unaligned_mask *)mask; }
INLINE choice all_or_none(int32_t mask) { return mask - (lanes_mask){0}; }
INLINE vector load_chosen(const float *p, choice k) { return (vector)((lanes_mask)load(p) & k); }
INLINE vector add_chosen(vector sum, vector w, const float *x, choice k) {
    return sum + w * (vector)((lanes_mask)(x[0] - (vector){0}) & k);
}
#endif
/* gcc makes one broadcast of this; of a loop over lanes it makes as many as there are lanes. */
INLINE vector splat(float s) { return s - (vector){0}; }

/* The lanes with even, and with odd numbers of two vectors one behind the other. */
#if LANES == 16
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define NEXT_LANES 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#define FIRST_IN_TURN 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define LAST_IN_TURN 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14
#define ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15
#define NEXT_LANES 1, 2, 3, 4, 5, 6, 7, 8
#define FIRST_IN_TURN 0, 8, 1, 9, 2, 10, 3, 11
#define LAST_IN_TURN 4, 12, 5, 13, 6, 14, 7, 15
#elif LANES == 4
#define EVEN_LANES 0, 2, 4, 6
#define ODD_LANES 1, 3, 5, 7
#define NEXT_LANES 1, 2, 3, 4
#define FIRST_IN_TURN 0, 4, 1, 5
#define LAST_IN_TURN 2, 6, 3, 7
#endif
INLINE vector even(vector a, vector b) { return __builtin_shufflevector(a, b, EVEN_LANES); }
INLINE vector odd(vector a, vector b) { return __builtin_shufflevector(a, b, ODD_LANES); }
/* Every lane takes the next one's number, and the last one takes `end`. */
INLINE vector next_lanes(vector v, float end) { return __builtin_shufflevector(v, splat(end), NEXT_LANES); }

/* Lane i of the result is the sum of the lanes of vector i. */
INLINE vector sums_of_lanes(vector v[LANES]) {
    for (int count = LANES / 2; count; count /= 2)
        for (int i = 0; i < count; i++) v[i] = even(v[2 * i], v[2 * i + 1]) + odd(v[2 * i], v[2 * i + 1]);
    return v[0];
}

/* Lane i of vector j becomes lane j of vector i. */
INLINE void transpose(vector v[LANES]) {
    for (int step = 1; step < LANES; step *= 2) {
        vector next[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            next[i] = even(v[2 * i], v[2 * i + 1]);
            next[i + LANES / 2] = odd(v[2 * i], v[2 * i + 1]);
        }
        for (int i = 0; i < LANES; i++) v[i] = next[i];
    }
}
