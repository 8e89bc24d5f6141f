"""C text of kernels that only apply an epilogue."""

from spokeshave.compiler.kernels.activations import activation_call
from spokeshave.compiler.kernels.instances import FinishKernel, PointwiseKernel
from spokeshave.compiler.kernels.panel import finished


def pointwise_function(kernel: PointwiseKernel) -> str:
    """An activation over every lane of every channel."""
    value = activation_call(kernel.activation, "load(from + c * plane + i)")
    return f"""
static void {kernel.name}(worker w, const float *from, float *to, int channels, ptrdiff_t plane, int lanes,
                          const int32_t *mask) {{
    extent own = share_extent(w, channels, lanes);
    EACH_VECTOR(own, c, i) store_masked(to + c * plane + i, {value}, mask + i);
}}
"""


def finish_function(kernel: FinishKernel) -> str:
    """Residual and activation over sums that were accumulated block by block."""
    value = finished(kernel.epilogue, "load(y + c * plane + i)", "residual + c * plane + i")
    return f"""
static void {kernel.name}(worker w, float *y, const float *residual, int channels, ptrdiff_t plane, int lanes,
                          const int32_t *mask) {{
    extent own = share_extent(w, channels, lanes);
    EACH_VECTOR(own, c, i) store_masked(y + c * plane + i, {value}, mask + i);
    (void)residual;
}}
"""
