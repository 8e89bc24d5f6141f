/* Both forms of gelu. Polynomials are fitted to what the definitions give: weighted least squares at Chebyshev points, the
   weights by Lawson's iteration. */
#if defined(__AVX512F__) && LANES == 16
/* relu(x) - g(|x|): a polynomial in each of 16 segments, whose coefficients, here of -g, the constant ones first, a
   permutation looks up. g(0), and g beyond the last segment, are exactly 0; the error of the whole is below 5e-7. */
static const float gelu_table[5][LANES] __attribute__((aligned(64))) = {
    {-0.0f, -0.130205363f, -0.169839606f, -0.150170684f, -0.106032841f, -0.0627603158f, -0.0317704938f,
     -0.0138899777f, -0.00527245505f, -0.00174297555f, -0.000502752839f, -0.000126685307f, -2.79096021e-05f,
     -5.37866117e-06f, -9.07098695e-07f, -2.2083762e-07f},
    {-0.181818321f, -0.0808299705f, -0.00393479178f, 0.0372271799f, 0.0467551127f, 0.0379584357f, 0.0239948034f,
     0.0124829719f, 0.00547380513f, 0.00204846496f, 0.00065900496f, 0.000183090946f, 4.40661497e-05f, 9.20761431e-06f,
     1.67294104e-06f, -6.11997791e-07f},
    {0.0527551472f, 0.0461123772f, 0.0297850203f, 0.0117831305f, -0.00105899735f, -0.00659529865f, -0.00673743477f,
     -0.00462891068f, -0.00247731386f, -0.00108510384f, -0.000398056407f, -0.000123858568f, -3.29471513e-05f,
     -7.53142467e-06f, -1.48485742e-06f, 9.5694495e-06f},
    {-1.29776299e-05f, -0.00417193072f, -0.00614962261f, -0.00538021326f, -0.00304491841f, -0.000789758516f,
     0.00047521849f, 0.000783031457f, 0.000602193933f, 0.000333118951f, 0.000145718193f, 5.23507806e-05f,
     1.57493087e-05f, 4.01338139e-06f, 8.72762769e-07f, 6.49119538e-05f},
    {-0.00113963417f, -0.000835130166f, -0.00013077262f, 0.00046049885f, 0.000633873045f, 0.000455794885f,
     0.000180700561f, -5.22510936e-06f, -6.81559541e-05f, -5.98355618e-05f, -3.3852335e-05f, -1.45798485e-05f,
     -5.05602384e-06f, -1.44986166e-06f, -3.49032234e-07f, 8.61533263e-05f},
};
static const float gelu_tanh_table[5][LANES] __attribute__((aligned(64))) = {
    {-0.0f, -0.123150863f, -0.168375462f, -0.158808023f, -0.121847846f, -0.0798024088f, -0.0454023071f, -0.022542743f,
     -0.00974194985f, -0.00363739091f, -0.00116111187f, -0.000312944874f, -7.02461839e-05f, -1.29447253e-05f,
     -1.92957373e-06f, -0.0f},
    {-0.166666746f, -0.0812315196f, -0.0132559929f, 0.0276534352f, 0.0424726903f, 0.0395163596f, 0.0287004318f,
     0.0173282195f, 0.00887063704f, 0.00386140775f, 0.00142147765f, 0.000438122603f, 0.00011166765f, 2.32169587e-05f,
     3.8815806e-06f, 1.50194301e-05f},
    {0.0443284102f, 0.0395815633f, 0.0275697261f, 0.0134531092f, 0.002112207f, -0.00420558034f, -0.00599308638f,
     -0.00509930868f, -0.00332763442f, -0.00176492892f, -0.00077202142f, -0.000278157589f, -8.188012e-05f,
     -1.94710738e-05f, -3.69285863e-06f, 0.0001441083f},
    {-7.88488069e-06f, -0.00300725992f, -0.00464037852f, -0.0044348971f, -0.00297769182f, -0.00127546571f,
     -4.62803364e-05f, 0.000519675959f, 0.000589991745f, 0.000429829437f, 0.000238504872f, 0.00010492398f,
     3.68764304e-05f, 1.03154216e-05f, 2.27721739e-06f, 0.00046270524f},
    {-0.000810984988f, -0.000623910571f, -0.000172949032f, 0.000248379423f, 0.000435491296f, 0.000385182851f,
     0.000222529285f, 6.85359264e-05f, -2.17872512e-05f, -4.99440321e-05f, -4.22196244e-05f, -2.44787043e-05f,
     -1.06743555e-05f, -3.58172042e-06f, -9.27537769e-07f, 0.00046177383f},
};
INLINE vector look_up(const float *table, lanes_mask at) {
    vector v;
    __asm__("vpermps %2, %1, %0" : "=v"(v) : "v"(at), "v"(load(table)));
    return v;
}
INLINE vector gelu(vector v, float edge, float segments_per_unit, const float table[5][LANES]) {
    vector a = at_most((vector)((lanes_mask)v & 0x7FFFFFFF), edge);
    vector shifted = a * segments_per_unit + 8388608.0f; /* 2^23: the sum is rounded to the number of a segment */
    vector u = a * segments_per_unit - (shifted - 8388608.0f), p = look_up(table[4], (lanes_mask)shifted);
    for (int i = 3; i >= 0; i--) p = p * u + look_up(table[i], (lanes_mask)shifted);
    return at_least(v, 0.0f) + p;
}
INLINE vector activate_gelu(vector v) { return gelu(v, 5.5f, 2.75f, gelu_table); }
INLINE vector activate_gelu_tanh(vector v) { return gelu(v, 5.0f, 3.0f, gelu_tanh_table); }
#else
/* x * (0.5 + x * p(u)), u = 2 * (x / edge)^2 - 1; the error of the whole is about 1e-6. Beyond the edge the sum is clamped
   to 0 or 1. Even and odd powers make two short chains. */
static const float gelu_terms[] = { /* edge 5.25 */
    1.34659350e-1f, -6.71265796e-2f, 4.96450067e-2f, -3.97714190e-2f, 3.20484825e-2f, -2.49652788e-2f, 1.84061117e-2f,
    -1.30835511e-2f, 8.89029261e-3f, -4.85584885e-3f, 2.05282262e-3f, -1.57866476e-3f, 1.38760090e-3f, -4.70250554e-4f,
};
static const float gelu_tanh_terms[] = { /* edge 4.8 */
    1.47233501e-1f, -7.30627775e-2f, 5.30583039e-2f, -4.06734198e-2f, 3.03239003e-2f, -2.12904494e-2f, 1.40743004e-2f,
    -8.59994255e-3f, 4.53036418e-3f, -2.51253881e-3f, 2.10732711e-3f, -1.32305617e-3f, 2.27308643e-4f, 7.38129311e-5f,
};
INLINE vector gelu(vector v, float edge, const float *terms) {
    vector u = at_most(v * v, edge * edge) * (2.0f / (edge * edge)) - 1.0f, square = u * u;
    vector even = splat(terms[12]), odd = splat(terms[13]);
    for (int i = 10; i >= 0; i -= 2) even = even * square + terms[i], odd = odd * square + terms[i + 1];
    return v * at_most(at_least(v * (odd * u + even) + 0.5f, 0.0f), 1.0f);
}
INLINE vector activate_gelu(vector v) { return gelu(v, 5.25f, gelu_terms); }
INLINE vector activate_gelu_tanh(vector v) { return gelu(v, 4.8f, gelu_tanh_terms); }
#endif
