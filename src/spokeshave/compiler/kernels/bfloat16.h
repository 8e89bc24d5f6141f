/* bfloat16 layers: a word of a plane holds two channels of one position, the first in its lower half. Products are exact
   in float32 and summed there; where vdpbf16ps does that, numbers below 2^-126 count as 0. */
INLINE vector lower_half(lanes_mask words) { return (vector)((unsigned_lanes)words << 16); }
INLINE vector upper_half(lanes_mask words) { return (vector)(words & (int32_t)0xFFFF0000); }

/* sums + the two products of x and w in each word. Assembly, because gcc 12 spills the accumulators round the intrinsic. */
#if defined(__AVX512BF16__) && LANES == 16
#define DOT_PAIRS(sums, x, w) __asm__("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(x), "v"(w))
#else
#define DOT_PAIRS(sums, x, w) (sums) = dot_pairs(sums, x, w)
#endif
INLINE vector dot_pairs(vector sums, lanes_mask x, lanes_mask w) {
    sums += upper_half(x) * upper_half(w);
    return sums + lower_half(x) * lower_half(w);
}

/* The bits of the nearest bfloat16, ties to even, in the upper half of each lane; NaN stays NaN. */
INLINE unsigned_lanes nearest_half(vector v) {
    unsigned_lanes bits = (unsigned_lanes)v, up = bits + 0x7FFF + ((bits >> 16) & 1);
    return (unsigned_lanes)select(v == v, (vector)up, (vector)(bits | 0x400000));
}
INLINE lanes_mask pair_of(vector first, vector second) { /* the word of two channels */
#if defined(__AVX512BF16__) && LANES == 16
    typedef int16_t half_words __attribute__((vector_size(64)));
    half_words both;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first), "v"(second));
    return (lanes_mask)__builtin_shufflevector(both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24,
                                               9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#else
    return (lanes_mask)((nearest_half(first) >> 16) | (nearest_half(second) & 0xFFFF0000));
#endif
}

static void round_planes(worker w, const float *from, int32_t *to, int channels, ptrdiff_t plane, int lanes,
                         const int32_t *mask) {
    extent own = share_extent(w, (channels + 1) / 2, lanes);
    EACH_VECTOR(own, c, i) {
        vector first = load(from + 2 * c * plane + i);
        vector second = 2 * c + 1 < channels ? load(from + (2 * c + 1) * plane + i) : splat(0.0f);
        store_word(to + c * plane + i, pair_of(first, second), mask + i, 0);
    }
}

static void widen_planes(worker w, const int32_t *from, float *to, int channels, ptrdiff_t plane, int lanes,
                         const int32_t *mask) {
    extent own = share_extent(w, channels, lanes);
    EACH_VECTOR(own, c, i) {
        lanes_mask words = load_words(from + (c / 2) * plane + i);
        store_masked(to + c * plane + i, c % 2 ? upper_half(words) : lower_half(words), mask + i);
    }
}
