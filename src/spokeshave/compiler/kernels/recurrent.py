"""C text of the recurrent kernels: a whole sequence in one call, so that the weights stay in the cache.

    for each step: product = W_hh h; h, c = cell(projected[step], product, h, c); y[step] = h

A group of samples goes through the steps together, so that every weight that is loaded serves all of them; what belongs
to the next sample lies `apart` floats further on.

The input's share of the gates, `projected`, is computed before, for all steps at once. The team meets twice a step:
when all rows of the product are there, and when all of the state is. Every other step goes through the weights
backwards: where they are a little more than the cache holds, most of them are still there. In integers the product
reads the state as bytes, which are made of it after every step.
"""

from spokeshave.compiler.kernels.instances import IntegerVectorKernel, RecurrentKernel


def recurrent_function(kernel: RecurrentKernel) -> str:
    """C text of one kernel; `h` and `c` hold the state before the first step, and after the last one."""
    product = kernel.product
    integer = isinstance(product, IntegerVectorKernel)
    cell, memory = (", float *c", ", c + at") if kernel.kind == "lstm" else ("", "")
    packed = ", ".join(f"const {type_} *{name}" for type_, name in product.constants)
    state = ", uint8_t *state, requantization q" if integer else ""
    convert = "quantize_row(h + at, state + 4 * at, own.from, end, q);" if integer else ""
    before = f"    EACH_SAMPLE {{ {convert} }}\n    barrier(w);\n" if integer else ""
    return f"""
static void {kernel.name}(worker w, {packed}, int hidden,
                          int steps, int reverse, const float *projected, float *product, float *y,
                          float *h{cell}{state}, int group, ptrdiff_t apart) {{
    int gates = {kernel.gates} * hidden;
    range own = share_lanes(w, (hidden + LANES - 1) / LANES * LANES);
    int end = own.to < hidden ? own.to : hidden;
{before}    for (int step = 0; step < steps; step++) {{
        ptrdiff_t now = reverse ? steps - 1 - step : step;
        {_product_call(kernel)};
        barrier(w);
        EACH_SAMPLE {{
            {kernel.kind}_cell(own, projected + at + now * gates, product + at, h + at{memory}, hidden);
            for (int i = own.from; i < end; i++) y[at + now * hidden + i] = h[at + i];
            {convert}
        }}
        barrier(w);
    }}
}}
"""


def _product_call(kernel: RecurrentKernel) -> str:
    name, packed = kernel.product.name, ", ".join(name for _, name in kernel.product.constants)
    if isinstance(kernel.product, IntegerVectorKernel):
        places = "state, 4 * apart, product, apart, product, apart, q"
        return f"{name}(w, {packed}, gates, group, step & 1, {places})"
    return f"{name}(w, {packed}, gates, group, step & 1, h, apart, product, product, apart)"
