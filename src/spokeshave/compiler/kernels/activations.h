/* Activations on vectors. exp: Cephes' polynomial after reduction by multiples of ln 2, below 2 ulp. Comparisons are
   written so that a NaN stays a NaN. */
INLINE vector select(lanes_mask mask, vector yes, vector no) {
    return (vector)((mask & (lanes_mask)yes) | (~mask & (lanes_mask)no));
}
INLINE vector larger_of(vector a, vector b) { /* b where either is NaN; so is smaller_of */
#if defined(__AVX__)
    __asm__("vmaxps %2, %1, %0" : "=v"(a) : "v"(a), "v"(b));
    return a;
#else
    return select(a > b, a, b);
#endif
}
INLINE vector smaller_of(vector a, vector b) {
#if defined(__AVX__)
    __asm__("vminps %2, %1, %0" : "=v"(a) : "v"(a), "v"(b));
    return a;
#else
    return select(a < b, a, b);
#endif
}
INLINE vector at_least(vector v, float low) { return larger_of(splat(low), v); }
INLINE vector at_most(vector v, float high) { return smaller_of(splat(high), v); }

INLINE vector exponential(vector v) {
    vector x = at_most(at_least(v, -87.3f), 88.3f);
    vector shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the sum is rounded to a whole number */
    lanes_mask power = (lanes_mask)shifted - 0x4B400000;
    vector n = shifted - 12582912.0f;
    vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vector)((power + 127) << 23);
}
/* 2^v as 2^part, with the part in [-1/2, 1/2], times a power of two, for v below 128; nothing below 2^-126: numbers
   between that and 0 take a hundred times as long. */
typedef struct {
    vector part, rest;
} two_parts;
#if defined(__AVX512DQ__) && LANES == 16
INLINE two_parts parts_of(vector v) {
    vector part;
    __asm__("vreduceps $0, %1, %0" : "=v"(part) : "v"(v));
    return (two_parts){part, v - part};
}
INLINE vector times_power(vector p, vector rest) {
    uint16_t smallest_is_below;
    __asm__("vcmpps $6, %2, %1, %0" : "=Yk"(smallest_is_below) : "v"(rest), "v"(splat(-126.0f))); /* or NaN */
    __asm__("vscalefps %2, %1, %0%{%3%}%{z%}" : "=v"(p) : "v"(p), "v"(rest), "Yk"(smallest_is_below));
    return p;
}
#else
INLINE two_parts parts_of(vector v) {
    vector x = at_least(v, -127.0f);
    vector shifted = x + 12583039.0f; /* 1.5 * 2^23 + 127: rounded to a whole number, which is an exponent already */
    return (two_parts){x - (shifted - 12583039.0f), shifted};
}
INLINE vector times_power(vector p, vector rest) { return p * (vector)((lanes_mask)rest << 23); }
#endif
/* Minimax polynomials: relative errors below 2e-7, and below 4e-6 where what follows is rounded to bfloat16. */
INLINE vector power_of_two(vector v) {
    two_parts t = parts_of(v);
    vector r = t.part, p = r * 1.3264725e-3f + 9.671513e-3f;
    p = p * r + 5.5507336e-2f;
    p = p * r + 2.4022242e-1f;
    p = p * r + 6.93147e-1f;
    p = p * r + 1.0f;
    return times_power(p, t.rest);
}
INLINE vector rough_power_of_two(vector v) {
    two_parts t = parts_of(v);
    vector r = t.part, p = r * 0.00957010221f + 0.0559178591f;
    p = p * r + 0.240247443f;
    p = p * r + 0.693121791f;
    p = p * r + 0.999999285f;
    return times_power(p, t.rest);
}
/* HeatViT's parabola between halvings (spokeshave/polynomials.py) in 2^v's place, for v <= 0; nothing below 2^-126. */
INLINE vector polynomial_power(vector v) {
    vector x = at_most(at_least(v, -127.0f), 0.0f);
    vector shifted = x + 12583039.0f, r = x - (shifted - 12583039.0f); /* as in power_of_two, but rounded up */
    lanes_mask below = r > splat(0.0f);
    vector p = select(below, r - 1.0f, r) + 1.95196639f;
    return (p * p * 0.172242405f + 0.344f) * (vector)(((lanes_mask)shifted - below) << 23);
}
INLINE vector activate_relu(vector v) { return at_least(v, 0.0f); }
INLINE vector activate_clamp(vector v, float low, float high) { return at_most(at_least(v, low), high); }
INLINE vector activate_leaky_relu(vector v, float slope) { return select(v < splat(0.0f), v * slope, v); }
INLINE vector activate_sigmoid(vector v) { return 1.0f / (1.0f + exponential(-v)); }
INLINE vector activate_tanh(vector v) {
    vector square = v * v;
    vector series = v + v * square * (square * (square * -0.05396825f + 0.13333333f) - 0.33333333f);
    vector ratio = 1.0f - 2.0f / (exponential(2.0f * v) + 1.0f);
    return select(square < splat(0.04f), series, ratio);
}
INLINE vector activate_silu(vector v) { return v / (1.0f + exponential(-v)); }
INLINE vector activate_hardsigmoid(vector v) { return at_most(at_least(v + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f); }
INLINE vector activate_hardswish(vector v) { return v * activate_hardsigmoid(v); }
INLINE vector activate_elu(vector v, float alpha) {
    return select(v > splat(0.0f), v, alpha * (exponential(v) - 1.0f));
}
/* The square of half the power, which overflows to infinity and vanishes where exp does. */
INLINE vector activate_exp(vector v) {
    vector half = exponential(0.5f * v);
    return half * half;
}
INLINE vector activate_sqrt(vector v) {
#if defined(__AVX__)
    __asm__("vsqrtps %1, %0" : "=v"(v) : "v"(v));
#else
    for (int l = 0; l < LANES; l++) v[l] = sqrtf(v[l]);
#endif
    return v;
}
INLINE vector activate_rsqrt(vector v) { return 1.0f / activate_sqrt(v); }
INLINE vector activate_sign(vector v) { return select(v >= splat(0.0f), splat(1.0f), splat(-1.0f)); }
/* HeatViT's polynomials (spokeshave/polynomials.py). */
INLINE vector activate_polynomial_gelu(vector v, float scale) {
    vector near = at_most((vector)((lanes_mask)v & 0x7FFFFFFF) * 0.707106781f, 1.769f) - 1.769f;
    vector half = (near * near * -0.2888f + 1.0f) * (0.5f * scale); /* of the error function, which has v's sign */
    return v * ((vector)((lanes_mask)half | ((lanes_mask)v & (int32_t)0x80000000)) + 0.5f);
}
INLINE vector activate_polynomial_sigmoid(vector v) {
    vector size = (vector)((lanes_mask)v & 0x7FFFFFFF), found = size * 0.25f + 0.5f;
    found = select(size >= 1.0f, size * 0.125f + 0.625f, found);
    found = select(size >= 2.375f, size * 0.03125f + 0.84375f, found);
    found = select(size >= 5.0f, splat(1.0f), found);
    return select(v < 0.0f, 1.0f - found, found);
}
