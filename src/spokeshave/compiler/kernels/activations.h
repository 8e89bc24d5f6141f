/* Activations on vectors. exp: Cephes' polynomial after reduction by multiples of ln 2, below 2 ulp; erf: Abramowitz and
   Stegun 7.1.26 (absolute error 1.5e-7). Comparisons are written so that a NaN stays a NaN. */
INLINE vector select(lanes_mask mask, vector yes, vector no) {
    return (vector)((mask & (lanes_mask)yes) | (~mask & (lanes_mask)no));
}
INLINE vector at_least(vector v, float low) { return select(v < splat(low), splat(low), v); }
INLINE vector at_most(vector v, float high) { return select(v > splat(high), splat(high), v); }

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
INLINE vector activate_relu(vector v) { return (vector)((lanes_mask)v & ~(lanes_mask)(v < splat(0.0f))); }
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
INLINE vector error_function(vector v) {
    vector sign = select(v < splat(0.0f), splat(-1.0f), splat(1.0f));
    vector x = v * sign;
    vector t = 1.0f / (1.0f + 0.3275911f * x);
    vector p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    return sign * (1.0f - p * t * exponential(-x * x));
}
INLINE vector activate_gelu(vector v) { return 0.5f * v * (1.0f + error_function(v * 0.70710678f)); }
INLINE vector activate_gelu_tanh(vector v) {
    return 0.5f * v * (1.0f + activate_tanh(0.79788456f * (v + 0.044715f * v * v * v)));
}
INLINE vector activate_hardsigmoid(vector v) { return at_most(at_least(v + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f); }
INLINE vector activate_hardswish(vector v) { return v * activate_hardsigmoid(v); }
INLINE vector activate_elu(vector v, float alpha) {
    return select(v > splat(0.0f), v, alpha * (exponential(v) - 1.0f));
}
