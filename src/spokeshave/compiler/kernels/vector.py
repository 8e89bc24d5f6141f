"""C text of the matrix-times-one-vector kernels: neighbouring outputs are the lanes.

    y[panel * ROWS + i] = epilogue(bias[...] + sum over j of weights[j][i] * x[columns[j]])

The weights stream through once, so four columns are summed apart to hide the latency of the multiply-add.
"""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import VectorKernel

UNROLL = 4


def vector_function(kernel: VectorKernel) -> str:
    """C text of one kernel; a group of ROWS outputs is ROWS / width vectors of the widest usable width."""
    rows = kernel.rows
    sums = "\n".join(f"        group s{u} = {{0}};" for u in range(UNROLL))
    steps = "\n".join(
        f"            s{u} += x[columns[j + {u}]] * *(const unaligned_group *)(weights + (size_t)(j + {u}) * {rows});"
        for u in range(UNROLL)
    )
    return f"""
static void {kernel.name}(worker w, const int32_t *columns, const int32_t *column_start,
                          const float *weights, const float *bias, int panels, const float *x, float *y,
                          const float *residual) {{
    typedef float group __attribute__((vector_size({rows * 4})));
    typedef float unaligned_group __attribute__((vector_size({rows * 4}), aligned(4), may_alias));
    range own = share_panels(w, column_start, panels);
    for (int panel = own.from; panel < own.to; panel++) {{
        int j = column_start[panel], end = column_start[panel + 1];
{sums}
        for (; j + {UNROLL} <= end; j += {UNROLL}) {{
{steps}
        }}
        for (; j < end; j++)
            s0 += x[columns[j]] * *(const unaligned_group *)(weights + (size_t)j * {rows});
        s0 = (s0 + s1) + (s2 + s3) + *(const unaligned_group *)(bias + panel * {rows});
        float *out = y + panel * {rows};
        *(unaligned_group *)out = s0;
{_epilogue(kernel)}
    }}
}}
"""


def _epilogue(kernel: VectorKernel) -> str:
    """The rest of the epilogue, lane vector by lane vector."""
    if not kernel.epilogue.residual and kernel.epilogue.activation is None:
        return "        (void)residual;"
    added = f"load(out + i) + load(residual + panel * {kernel.rows} + i)"
    value = added if kernel.epilogue.residual else "load(out + i)"
    result = activation_call(kernel.epilogue.activation, value)
    return f"        for (int i = 0; i < {kernel.rows}; i += LANES) store(out + i, {result});"
