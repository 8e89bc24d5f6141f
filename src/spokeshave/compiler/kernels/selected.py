"""C text of products with matrices that tokens choose: the experts of a mixture.

    tokens in the order of their matrices; matrix by matrix, product of its tokens; results back in the tokens' order

So a product is that of an ordinary layer over a matrix's tokens, in its packed form: vectors one behind the other, or
lanes of planes. Packed matrices lie one behind the other, with as many panels each. The team meets between the phases;
matrices that no token asks for cost nothing.
"""

from spokeshave.compiler.kernels.instances import (
    IntegerVectorKernel,
    PanelKernel,
    SelectedKernel,
    SubsetKernel,
    VectorKernel,
)

_TOKENS = (
    "const float *chosen, int matrices, int panels, int rows, int width, int tokens, range *groups, int32_t *order, "
    "int32_t *place, int step, int *fault, const float *x, float *y, float *gathered, float *made"
)


def selected_function(kernel: SelectedKernel) -> str:
    """C text of one kernel."""
    product = kernel.product
    if isinstance(product, PanelKernel | SubsetKernel):
        return _over_lanes(kernel, product)
    return _over_vectors(kernel, product)


def _over_vectors(kernel: SelectedKernel, product: VectorKernel | IntegerVectorKernel) -> str:
    """In integers a token is a row of words, `width` of them, each as wide as a float."""
    constants = ", ".join(f"const {type_} *{name}" for type_, name in product.constants)
    of_rows = ("places", "bias", "numbers", "start", "scale", "shift")
    by_panel = {"column_start": "first"} | dict.fromkeys(of_rows, f"first * {product.rows}")
    packed = ", ".join(
        f"{name} + {by_panel[name]}" if name in by_panel else name for _, name in product.constants
    )
    settings, places = "", "gathered + from * width, width, to, to, rows"
    if isinstance(product, IntegerVectorKernel):
        settings = ", requantization q"
        places = "(const uint8_t *)(gathered + from * width), 4 * width, to, rows, to, rows, q"
    return f"""
static void {kernel.name}(worker w, {constants}, {_TOKENS}{settings}) {{
    group_tokens(w, chosen, groups, order, place, matrices, tokens, 1, step, fault);
    barrier(w);
    pick_rows(w, order, x, gathered, width, tokens);
    barrier(w);
    for (int m = 0; m < matrices; m++) {{
        ptrdiff_t first = (ptrdiff_t)m * panels, from = groups[m].from;
        int count = groups[m].to - groups[m].from;
        float *to = made + from * rows;
        if (count) {product.name}(w, {packed}, rows, count, 0, {places});
    }}
    barrier(w);
    pick_rows(w, place, made, y, rows, tokens);
}}
"""


def _over_lanes(kernel: SelectedKernel, product: PanelKernel | SubsetKernel) -> str:
    """Planes of `plane` floats hold the tokens in order; unused lanes between matrices compute what nobody reads."""
    constants = ["const int32_t *columns", "const int32_t *column_start", "const float *weights"]
    packed = ["columns", "column_start + first", "weights"]
    if isinstance(product, SubsetKernel):
        constants[2:2], packed[2:2] = ["const int32_t *ends"], [f"ends + first * {product.subsets}"]
        constants.append("const int32_t *weight_start")
        packed.append("weight_start + first")
    return f"""
static void {kernel.name}(worker w, {", ".join(constants)}, const float *bias, const int32_t *numbers,
                          const int32_t *mask,
                          int chunk, int by_lanes, ptrdiff_t x_plane, ptrdiff_t y_plane, ptrdiff_t plane, {_TOKENS}) {{
    group_tokens(w, chosen, groups, order, place, matrices, tokens, LANES, step, fault);
    barrier(w);
    pick_lanes(w, order, x, x_plane, gathered, plane, width, groups[matrices].to);
    barrier(w);
    for (int m = 0; m < matrices; m++) {{
        ptrdiff_t first = (ptrdiff_t)m * panels, from = groups[m].from;
        int vectors = (groups[m].to - groups[m].from + LANES - 1) / LANES;
        float *to = made + from;
        if (vectors) {product.name}(w, {", ".join(packed)}, bias, numbers + first * {product.rows}, mask, panels,
                                    vectors, chunk, by_lanes, (const char *)(gathered + from), to, to);
    }}
    barrier(w);
    pick_lanes(w, place, made, plane, y, y_plane, rows, tokens);
}}
"""
