/* Integer layers: a word of a plane holds four uint8 channels of one position. compiler/quantization/arithmetic.py
   defines the numbers; every instruction set gives the same ones. */
typedef int16_t halves __attribute__((vector_size(VECTOR_BYTES)));
typedef uint16_t unsigned_halves __attribute__((vector_size(VECTOR_BYTES)));

/* sums + the four products of x (unsigned bytes) and w (signed bytes) in each word. Assembly instead of the intrinsic,
   because gcc 12 spills the accumulators around that. */
#if defined(__AVX512VNNI__) && LANES == 16
#define DOT_WORDS(sums, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(x), "v"(w))
#elif defined(__AVXVNNI__) && LANES == 8
#define DOT_WORDS(sums, x, w) __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(x), "x"(w))
#elif defined(__ARM_FEATURE_MATMUL_INT8) && LANES == 4
#define DOT_WORDS(sums, x, w) __asm__("usdot %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(x), "w"(w))
#else
#define DOT_WORDS(sums, x, w) (sums) = dot_words(sums, x, w)
#endif

INLINE lanes_mask dot_halves(halves a, halves b) { /* a[2i] * b[2i] + a[2i + 1] * b[2i + 1] */
#if defined(__AVX512BW__) || defined(__AVX2__)
    lanes_mask sums;
    __asm__("vpmaddwd %2, %1, %0" : "=v"(sums) : "v"(a), "v"(b));
    return sums;
#elif defined(__SSE2__) && LANES == 4
    __asm__("pmaddwd %1, %0" : "+x"(a) : "x"(b));
    return (lanes_mask)a;
#else
    lanes_mask low = ((lanes_mask)((unsigned_lanes)a << 16) >> 16) * ((lanes_mask)((unsigned_lanes)b << 16) >> 16);
    return low + ((lanes_mask)a >> 16) * ((lanes_mask)b >> 16);
#endif
}

INLINE lanes_mask dot_words(lanes_mask sums, lanes_mask x, lanes_mask w) { /* even bytes, then odd bytes */
    halves even = (halves)x & 255, odd = (halves)((unsigned_halves)x >> 8);
    halves even_weights = (halves)((unsigned_halves)w << 8) >> 8, odd_weights = (halves)w >> 8;
    return sums + dot_halves(even, even_weights) + dot_halves(odd, odd_weights);
}

INLINE vector fused_multiply_add(vector a, vector b, vector c) { /* rounded once, by any compiler on every CPU */
#if defined(__FMA__)
    __asm__("vfmadd213ps %2, %1, %0" : "+v"(a) : "v"(b), "v"(c));
    return a;
#elif defined(__aarch64__)
    __asm__("fmla %0.4s, %1.4s, %2.4s" : "+w"(c) : "w"(a), "w"(b));
    return c;
#else
    for (int i = 0; i < LANES; i++) c[i] = fmaf(a[i], b[i], c[i]);
    return c;
#endif
}

INLINE vector clamped(vector v, float low, float high) { /* NaN becomes low */
#if defined(__AVX__)
    __asm__("vmaxps %2, %1, %0" : "=v"(v) : "v"(v), "v"(splat(low)));
    __asm__("vminps %2, %1, %0" : "=v"(v) : "v"(v), "v"(splat(high)));
    return v;
#else
    v = select(v > splat(low), v, splat(low));
    return select(v < splat(high), v, splat(high));
#endif
}

/* Bits of a float from 0 to 255 rounded to a whole number, ties to even: the number is in the lowest byte, the bytes
   above it are 0, 0 and 0x4B. */
INLINE lanes_mask rounded(vector v) { return (lanes_mask)(v + 8388608.0f); }

INLINE lanes_mask word_of(lanes_mask a, lanes_mask b, lanes_mask c, lanes_mask d) { /* of rounded numbers */
    return (a & 255) | (b << 8) | (c << 16) | (d << 24);
}
INLINE vector byte_of(lanes_mask word, int index) {
    return __builtin_convertvector((lanes_mask)((unsigned_lanes)word >> (8 * index)) & 255, vector);
}

/* What follows the sums of a layer; `gap` is the zero point in each byte, which gaps hold so that they stand for 0. */
typedef struct {
    float residual_scale, inverse, zero_point, low, high;
    int32_t gap;
} requantization;

INLINE lanes_mask requantized(vector v, requantization q) { return rounded(clamped(v, q.low, q.high)); }
INLINE vector in_output_units(vector v, requantization q) {
    return fused_multiply_add(v, splat(q.inverse), splat(q.zero_point));
}

/* 4 * LANES numbers clamped and rounded, four to a word. The word of lane p holds the numbers 4 * (p / 4) ... + 3 of a, b, c
   or d, by p % 4: as bytes are packed. Where packing saturates, it clamps at 0 and 255 on its way; rounding first and then
   clamping from below is the same, and NaN, the least whole number, ends at the low bound as well. */
#if (defined(__AVX512BW__) && LANES == 16) || (defined(__AVX2__) && LANES == 8)
INLINE lanes_mask whole_up_to(vector v, float high) {
    lanes_mask whole;
    __asm__("vminps %1, %2, %0" : "=v"(v) : "v"(v), "v"(splat(high))); /* NaN stays NaN */
    __asm__("vcvtps2dq %1, %0" : "=v"(whole) : "v"(v));
    return whole;
}
INLINE lanes_mask packed_levels(vector a, vector b, vector c, vector d, requantization q) {
    lanes_mask ab, cd, all, low = (rounded(splat(q.low)) & 255) * 0x01010101;
    __asm__("vpackssdw %2, %1, %0" : "=v"(ab) : "v"(whole_up_to(a, q.high)), "v"(whole_up_to(b, q.high)));
    __asm__("vpackssdw %2, %1, %0" : "=v"(cd) : "v"(whole_up_to(c, q.high)), "v"(whole_up_to(d, q.high)));
    __asm__("vpackuswb %2, %1, %0" : "=v"(all) : "v"(ab), "v"(cd));
    __asm__("vpmaxub %2, %1, %0" : "=v"(all) : "v"(all), "v"(low));
    return all;
}
#else
INLINE lanes_mask packed_levels(vector a, vector b, vector c, vector d, requantization q) {
    lanes_mask all, levels[4] = {requantized(a, q), requantized(b, q), requantized(c, q), requantized(d, q)};
    for (int p = 0; p < LANES; p++) {
        const lanes_mask from = levels[p % 4] & 255;
        int first = p / 4 * 4;
        all[p] = from[first] | from[first + 1] << 8 | from[first + 2] << 16 | (int32_t)((uint32_t)from[first + 3] << 24);
    }
    return all;
}
#endif
INLINE int number_of_lane(int p) { return p % 4 * (LANES / 4) + p / 4; } /* of a word among those of a, b, c, d in a row */

/* The word of four channels, each clamped and rounded. */
#if (defined(__AVX512BW__) && LANES == 16) || (defined(__AVX2__) && LANES == 8)
typedef uint8_t bytes_of_words __attribute__((vector_size(VECTOR_BYTES)));
#define IN_TURN 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15 /* of four numbers of each channel */
INLINE lanes_mask levels_word(vector a, vector b, vector c, vector d, requantization q) {
#if LANES == 16
    const bytes_of_words in_turn = {IN_TURN, IN_TURN, IN_TURN, IN_TURN};
#else
    const bytes_of_words in_turn = {IN_TURN, IN_TURN};
#endif
    lanes_mask all = packed_levels(a, b, c, d, q);
    __asm__("vpshufb %2, %1, %0" : "=v"(all) : "v"(all), "v"(in_turn));
    return all;
}
#else
INLINE lanes_mask levels_word(vector a, vector b, vector c, vector d, requantization q) {
    return word_of(requantized(a, q), requantized(b, q), requantized(c, q), requantized(d, q));
}
#endif

static void fill_bytes(worker w, char *to, int value, int bytes) {
    range own = share(w, bytes);
    memset(to + own.from, value, (size_t)(own.to - own.from));
}

static void quantize_planes(worker w, const float *from, int32_t *to, int channels, ptrdiff_t plane, int lanes,
                            const int32_t *mask, requantization q) {
    extent own = share_extent(w, (channels + 3) / 4, lanes);
    EACH_VECTOR(own, c, i) {
        vector levels[4];
        for (int k = 0; k < 4; k++) {
            int row = 4 * c + k < channels ? 4 * c + k : 4 * c;
            levels[k] = in_output_units(load(from + row * plane + i), q);
        }
        lanes_mask word = levels_word(levels[0], levels[1], levels[2], levels[3], q);
        store_word(to + c * plane + i, word, mask + i, q.gap);
    }
}

/* The same of maps that lie where the caller has them, row-major; row by row, each with the gap behind it. */
static void quantize_map(worker w, const float *from, int32_t *to, int channels, int rows, int columns, ptrdiff_t plane,
                         int pitch, int lanes, const int32_t *mask, requantization q) {
    int words = (channels + 3) / 4;
    range own = share(w, words * rows);
    for (int at = own.from; at < own.to; at++) {
        int word = at / rows, row = at % rows, first = row * pitch, end = row + 1 < rows ? pitch : lanes - first;
        for (int i = 0; i < end; i += LANES) {
            vector levels[4];
            for (int k = 0; k < 4; k++) {
                int channel = 4 * word + k < channels ? 4 * word + k : 4 * word;
                const float *in = from + ((ptrdiff_t)channel * rows + row) * columns;
                levels[k] = in_output_units(load_part(in + i, columns > i ? columns - i : 0), q);
            }
            lanes_mask made = levels_word(levels[0], levels[1], levels[2], levels[3], q);
            lanes_mask inside = (lanes_mask)load_part((const float *)mask + first + i, end - i);
            vector word_or_gap = (vector)((made & inside) | (q.gap & ~inside));
            store_part((float *)to + word * plane + first + i, word_or_gap, end - i);
        }
    }
}

/* Tokens that lie where the caller has them, row-major, become planes: words of so many tokens and channels at a time. */
static void quantize_tokens(worker w, const float *from, int32_t *to, int channels, int tokens, ptrdiff_t plane, int lanes,
                            requantization q) {
    int words = (channels + 3) / 4, blocks = (words + LANES - 1) / LANES;
    range own = share(w, lanes / LANES * blocks);
    for (int at = own.from; at < own.to; at++) {
        int token = at / blocks * LANES, word = at % blocks * LANES;
        vector turned[LANES];
        for (int i = 0; i < LANES; i++) {
            vector levels[4];
            for (int k = 0; k < 4 && token + i < tokens; k++) {
                int channel = 4 * word + k * LANES, count = channels > channel ? channels - channel : 0;
                const float *in = from + (ptrdiff_t)(token + i) * channels + channel;
                levels[k] = in_output_units(load_part(in, count), q);
            }
            turned[i] = (vector)splat_word(q.gap);
            if (token + i < tokens) turned[i] = (vector)packed_levels(levels[0], levels[1], levels[2], levels[3], q);
        }
        transpose(turned);
        for (int p = 0; p < LANES; p++) {
            int number = word + number_of_lane(p);
            if (number < words) store((float *)to + number * plane + token, turned[p]);
        }
    }
}

static void dequantize_planes(worker w, const int32_t *from, float *to, int channels, ptrdiff_t plane, int lanes,
                              const int32_t *mask, float scale, float zero_point) {
    extent own = share_extent(w, channels, lanes);
    EACH_VECTOR(own, c, i) {
        vector v = byte_of(load_words(from + (c / 4) * plane + i), c % 4);
        store_masked(to + c * plane + i, (v - zero_point) * scale, mask + i);
    }
}

/* Rows of bytes: `count` says how many lanes are there, LANES or more for all of them. */
typedef uint8_t lane_bytes __attribute__((vector_size(LANES)));
INLINE void store_bytes(uint8_t *to, lanes_mask v, int count) { /* the lowest byte of each lane */
    lane_bytes bytes = __builtin_convertvector(v & 255, lane_bytes);
    memcpy(to, &bytes, (size_t)(count < LANES ? count : LANES));
}
INLINE vector load_bytes(const uint8_t *from, int count) {
    lane_bytes bytes = {0};
    memcpy(&bytes, from, (size_t)(count < LANES ? count : LANES));
    return __builtin_convertvector(bytes, vector);
}
INLINE void store_some(float *to, vector v, int count) {
    memcpy(to, &v, (size_t)(count < LANES ? count : LANES) * sizeof(float));
}
INLINE vector load_some(const float *from, int count) {
    vector v = {0};
    memcpy(&v, from, (size_t)(count < LANES ? count : LANES) * sizeof(float));
    return v;
}
INLINE lanes_mask broadcast_word(const uint8_t *x) {
    int32_t word;
    memcpy(&word, x, sizeof word);
    return splat_word(word);
}

static void quantize_row(const float *from, uint8_t *to, int begin, int end, requantization q) {
    for (int i = begin; i < end; i += LANES)
        store_bytes(to + i, requantized(in_output_units(load_some(from + i, end - i), q), q), end - i);
}
static void quantize_rows(worker w, const float *from, uint8_t *to, int rows, int columns, ptrdiff_t from_stride,
                          ptrdiff_t to_stride, requantization q) {
    range own = share(w, rows);
    for (int row = own.from; row < own.to; row++)
        quantize_row(from + row * from_stride, to + row * to_stride, 0, columns, q);
}
static void dequantize_rows(worker w, const uint8_t *from, float *to, int rows, int columns, ptrdiff_t from_stride,
                            ptrdiff_t to_stride, float scale, float zero_point) {
    range own = share(w, rows);
    for (int row = own.from; row < own.to; row++)
        for (int i = 0; i < columns; i += LANES) {
            vector v = load_bytes(from + row * from_stride + i, columns - i);
            store_some(to + row * to_stride + i, (v - zero_point) * scale, columns - i);
        }
}
