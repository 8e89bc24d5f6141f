/* Vectors of LANES floats in the portable vector extension of gcc and clang; LANES is set by the build. */
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
INLINE void store_masked(float *p, vector v, const int32_t *mask) {
    *(unaligned_mask *)p = (lanes_mask)v & *(const unaligned_mask *)mask;
}
INLINE vector splat(float s) {
    vector v = {0};
    for (int i = 0; i < LANES; i++) v[i] = s;
    return v;
}
