"""C text of the recurrent kernels: a whole sequence in one call, so that the weights stay in the cache.

    for each step: product = W_hh h; h, c = cell(projected[step], product, h, c); y[step] = h

The input's share of the gates, `projected`, is computed before, for all steps at once. The team meets twice a step:
when all rows of the product are there, and when all of the state is. Every other step goes through the weights
backwards: where they are a little more than the cache holds, most of them are still there.
"""

from spokeshave.compiler.kernels.instances import RecurrentKernel


def recurrent_function(kernel: RecurrentKernel) -> str:
    """C text of one kernel; `h` and `c` hold the state before the first step, and after the last one."""
    cell = ", float *c" if kernel.kind == "lstm" else ""
    memory = ", c" if kernel.kind == "lstm" else ""
    product = kernel.product
    return f"""
static void {kernel.name}(worker w, const {product.index} *columns, const int32_t *column_start,
                          const {product.weight} *weights, const float *bias, int hidden, int steps, int reverse,
                          const float *projected, float *product, float *y, float *h{cell}) {{
    int gates = {kernel.gates} * hidden;
    range own = share_lanes(w, (hidden + LANES - 1) / LANES * LANES);
    int end = own.to < hidden ? own.to : hidden;
    for (int step = 0; step < steps; step++) {{
        ptrdiff_t now = reverse ? steps - 1 - step : step;
        {product.name}(w, columns, column_start, weights, bias, gates, 1, step & 1, h, hidden, product, product,
            gates);
        barrier(w);
        {kernel.kind}_cell(own, projected + now * gates, product, h{memory}, hidden);
        for (int i = own.from; i < end; i++) y[now * hidden + i] = h[i];
        barrier(w);
    }}
}}
"""
