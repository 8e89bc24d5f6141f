"""C text of products of two values, matrix by matrix: blocks of rows and tiles of lanes by the product kernel.

Columns are lanes. A block is summed beside the output and only its true elements are stored, so that neighbours, of
which another worker may write one, are left alone.
"""

from spokeshave.compiler.kernels.instances import MatMulKernel

BLOCK = 48  # rows: a block and what it reads of a few hundred columns stay in the first cache


def matmul_function(kernel: MatMulKernel) -> str:
    """C text of the kernel."""
    product = kernel.product
    text = _TEXT
    for name, meaning in {"PRODUCT": product.name, "VECTORS": product.vectors, "BLOCK": BLOCK}.items():
        text = text.replace(name, str(meaning))
    return text.replace("NAME", kernel.name)


_TEXT = """
typedef struct {
    int outer, inner, rows, depth, columns; /* matrices along two axes, and their sizes */
    ptrdiff_t left_outer, left_inner, left_row, left_step;
    ptrdiff_t right_outer, right_inner, right_row, out_outer, out_inner, out_row;
} NAME_shape;

static void NAME_block(const NAME_shape *s, const float *left, const float *right, float *out, int rows, int columns) {
    enum { row = VECTORS * LANES };
    float sums[BLOCK * row] __attribute__((aligned(64)));
    int vectors = (columns + LANES - 1) / LANES;
    PRODUCT(left, s->left_row, s->left_step, right, s->right_row, s->depth, 0, sums, row, rows, vectors);
    for (int i = 0; i < rows; i++) memcpy(out + i * s->out_row, sums + i * row, (size_t)columns * sizeof(float));
}

static void NAME(worker w, NAME_shape s, const float *left, const float *right, float *out) {
    enum { width = VECTORS * LANES };
    int tiles = (s.columns + width - 1) / width, blocks = (s.rows + BLOCK - 1) / BLOCK;
    range own = share(w, s.outer * s.inner * blocks * tiles);
    for (int item = own.from; item < own.to; item++) {
        int column = item % tiles * width, row = item / tiles % blocks * BLOCK;
        int rows = s.rows - row < BLOCK ? s.rows - row : BLOCK;
        int columns = s.columns - column < width ? s.columns - column : width;
        ptrdiff_t inner = item / tiles / blocks % s.inner, outer = item / tiles / blocks / s.inner;
        NAME_block(&s, left + outer * s.left_outer + inner * s.left_inner + row * s.left_row,
                   right + outer * s.right_outer + inner * s.right_inner + column,
                   out + outer * s.out_outer + inner * s.out_inner + row * s.out_row + column, rows, columns);
    }
}
"""
