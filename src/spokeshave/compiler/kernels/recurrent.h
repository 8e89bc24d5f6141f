/* Gates of recurrent layers. They are the same numbers on every instruction set, so that a state that is rounded to uint8
   is too: no product is fused with a sum. compiler/quantization/gates.py computes them with PyTorch. */
INLINE vector rounded_product(vector a, vector b) {
    vector product = a * b;
#if defined(__FMA__)
    __asm__("" : "+v"(product)); /* what the compiler does not see through it does not fuse */
#elif defined(__aarch64__)
    __asm__("" : "+w"(product));
#endif
    return product;
}
/* x times a quotient of polynomials in x^2, fitted for least relative error (by iterated weighted least squares): below
   5e-7 in float32; beyond 7.9 the result stays what it is there, 1 - 2e-7. NaN stays NaN. */
INLINE vector gate_tanh(vector v) {
    vector x = at_most(at_least(v, -7.9f), 7.9f), u = rounded_product(x, x);
    vector p = rounded_product(u, splat(1.15333451e-5f)) + 2.9606109e-3f;
    vector q = rounded_product(u, splat(2.49303383e-7f)) + 2.40031601e-4f;
    p = rounded_product(p, u) + 1.29345447e-1f;
    q = rounded_product(q, u) + 2.3854645e-2f;
    p = rounded_product(p, u) + 9.99999881e-1f;
    q = rounded_product(q, u) + 4.62677717e-1f;
    q = rounded_product(q, u) + 1.0f;
    return rounded_product(x, p) / q;
}
/* 1 / (1 + 2^x), the power as in activations.h: below 2e-7. */
INLINE vector gate_sigmoid(vector v) {
    vector x = at_most(at_least(rounded_product(v, splat(-1.44269504f)), -126.0f), 126.0f);
    vector shifted = x + 12583039.0f, r = x - (shifted - 12583039.0f);
    vector p = rounded_product(r, splat(1.3264725e-3f)) + 9.671513e-3f;
    p = rounded_product(p, r) + 5.5507336e-2f;
    p = rounded_product(p, r) + 2.4022242e-1f;
    p = rounded_product(p, r) + 6.93147e-1f;
    p = rounded_product(p, r) + 1.0f;
    return 1.0f / (1.0f + p * (vector)((lanes_mask)shifted << 23));
}

/* Cells, for one step: `projected` is the input's share of the gates with the biases, `product` the state's share. States
   have room for whole vectors; what is computed behind their last element is never used. */
#define EACH_SAMPLE for (ptrdiff_t at = 0; at < group * apart; at += apart)
static void gru_cell(range own, const float *projected, const float *product, float *h, int hidden) {
    for (int i = own.from; i < own.to; i += LANES) {
        vector reset = gate_sigmoid(load(projected + i) + load(product + i));
        vector update = gate_sigmoid(load(projected + hidden + i) + load(product + hidden + i));
        vector candidate = rounded_product(reset, load(product + 2 * hidden + i));
        vector new = gate_tanh(load(projected + 2 * hidden + i) + candidate);
        store(h + i, new + rounded_product(update, load(h + i) - new));
    }
}

static void lstm_cell(range own, const float *projected, const float *product, float *h, float *c, int hidden) {
    for (int i = own.from; i < own.to; i += LANES) {
        vector input = gate_sigmoid(load(projected + i) + load(product + i));
        vector forget = gate_sigmoid(load(projected + hidden + i) + load(product + hidden + i));
        vector cell = gate_tanh(load(projected + 2 * hidden + i) + load(product + 2 * hidden + i));
        vector output = gate_sigmoid(load(projected + 3 * hidden + i) + load(product + 3 * hidden + i));
        vector memory = rounded_product(forget, load(c + i)) + rounded_product(input, cell);
        store(c + i, memory);
        store(h + i, rounded_product(output, gate_tanh(memory)));
    }
}
