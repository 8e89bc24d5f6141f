/* Gate cells of recurrent layers, for one step: `projected` is the input's share of the gates with the biases, `product`
   the state's share. States have room for whole vectors; what is computed behind their last element is never used. */
static void gru_cell(range own, const float *projected, const float *product, float *h, int hidden) {
    for (int i = own.from; i < own.to; i += LANES) {
        vector reset = activate_sigmoid(load(projected + i) + load(product + i));
        vector update = activate_sigmoid(load(projected + hidden + i) + load(product + hidden + i));
        vector new = activate_tanh(load(projected + 2 * hidden + i) + reset * load(product + 2 * hidden + i));
        store(h + i, new + update * (load(h + i) - new));
    }
}

static void lstm_cell(range own, const float *projected, const float *product, float *h, float *c, int hidden) {
    for (int i = own.from; i < own.to; i += LANES) {
        vector input = activate_sigmoid(load(projected + i) + load(product + i));
        vector forget = activate_sigmoid(load(projected + hidden + i) + load(product + hidden + i));
        vector cell = activate_tanh(load(projected + 2 * hidden + i) + load(product + 2 * hidden + i));
        vector output = activate_sigmoid(load(projected + 3 * hidden + i) + load(product + 3 * hidden + i));
        vector memory = forget * load(c + i) + input * cell;
        store(c + i, memory);
        store(h + i, output * activate_tanh(memory));
    }
}
