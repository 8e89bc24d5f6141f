"""C text of depthwise convolutions: channels are planes, lanes are positions, and a tap is a shift.

    y[c][p] = epilogue(bias[c] + sum over taps t of weights[c][t] * x[c / multiplier][p + shift[t]])

With stride 1 the lanes are those of the flat plane, and some rows of the output are summed together, so that each
vector of x is loaded once for all of them. With stride 2 the even and odd lanes of two loads serve all taps of a line;
no phase image is made. `x` points at what the first tap of the first position reads. `edges`, of each column of the
kernel and lane, are masks of maps without gaps.
"""

from spokeshave.compiler.kernels.instances import DepthwiseKernel
from spokeshave.compiler.kernels.panel import finished

ROWS = 7  # divides the height of many maps: 7, 14, 28, 56, 112
FEW_ROWS = 4  # beside the weights of more taps than
MOST_TAPS_OF_ROWS = 20
MOST_TAPS = 49  # every tap is unrolled


def depthwise_function(kernel: DepthwiseKernel) -> str:
    """C text of one kernel with its tiles."""
    if kernel.stride == 1:
        return _tile(kernel, 1) + _tile(kernel, _rows(kernel)) + _every_position(kernel)
    return _every_second_position(kernel)


def _rows(kernel: DepthwiseKernel) -> int:
    """Rows of the output that are summed together: their sums and all weights lie in registers where there are 32."""
    return ROWS if kernel.taps[0] * kernel.taps[1] <= MOST_TAPS_OF_ROWS else FEW_ROWS


def _tile(kernel: DepthwiseKernel, rows: int) -> str:
    """One vector of each of `rows` rows of the output that are `row` floats apart."""
    height, width = kernel.taps
    lines = [f"    vector a{r} = bias;" for r in range(rows)]
    if kernel.masked:
        lines += [f"    choice inside{column} = chosen(edges + {column} * lanes);" for column in range(width)]
    for line in range(rows + height - 1):
        for column in range(width):
            uses = [
                f"a{r} += k[{(line - r) * width + column}] * v;"
                for r in range(rows)
                if 0 <= line - r < height
            ]
            place = f"x + {line} * row + {column} * column"
            read = f"load_chosen({place}, inside{column})" if kernel.masked else f"load({place})"
            lines.append(f"    {{ vector v = {read}; HOLD(v); {' '.join(uses)} }}")
    for r in range(rows):
        value = finished(kernel.epilogue, f"a{r}", f"residual + {r} * row")
        lines.append(f"    store_masked(y + {r} * row, {value}, mask + {r} * row);")
    body = "\n".join(lines)
    return f"""
INLINE void {kernel.name}_{rows}(const vector *k, vector bias, const int32_t *mask, const int32_t *edges, int lanes,
                          ptrdiff_t row, ptrdiff_t column, const float *x, float *y, const float *residual) {{
{body}
    (void)edges, (void)lanes, (void)residual;
}}
"""


def _splat_taps(kernel: DepthwiseKernel) -> str:
    """A channel's weights as vectors: copies, so that no store can be thought to change them."""
    taps = kernel.taps[0] * kernel.taps[1]
    return ", ".join(f"splat(weights[c * {taps} + {tap}])" for tap in range(taps))


def _every_position(kernel: DepthwiseKernel) -> str:
    """Rows a pitch apart go together where their taps are as far apart; the last vector of a plane is shifted back."""
    taps = kernel.taps[0] * kernel.taps[1]
    together = _rows(kernel)
    many, one = f"{kernel.name}_{together}", f"{kernel.name}_1"
    return f"""
static void {kernel.name}(worker w, const float *weights, const float *bias, const int32_t *mask,
                          const int32_t *edges, int channels, int multiplier, ptrdiff_t x_plane, ptrdiff_t y_plane,
                          int pitch, int lanes, int row, int column, const float *x, float *y, const float *residual) {{
    range own = share(w, channels);
    int together = row == pitch && 4 * pitch >= 3 * LANES; /* narrow rows would be summed twice */
    int step = together ? pitch : LANES, rows = together ? {together} : 1;
    for (int c = own.from; c < own.to; c++) {{
        const float *in = x + c / multiplier * x_plane, *added = residual + c * y_plane;
        float *out = y + c * y_plane;
        vector b = splat(bias[c]), k[{taps}] = {{{_splat_taps(kernel)}}};
        for (int block = 0; block < lanes; block += rows * step)
            for (int at = block; at < block + step; at += LANES) {{
                if (together && at + {together - 1} * step + LANES <= lanes) {{
                    {many}(k, b, mask + at, edges + at, lanes, row, column, in + at, out + at, added + at);
                    continue;
                }}
                for (int r = 0; r < rows && at + r * step < lanes; r++) {{
                    int last = lanes - LANES, p = at + r * step < last ? at + r * step : last;
                    {one}(k, b, mask + p, edges + p, lanes, row, column, in + p, out + p, added + p);
                }}
            }}
    }}
}}
"""


def _every_second_position(kernel: DepthwiseKernel) -> str:
    """Row by row: the last vector of a row is shifted back, the next rows overwrite zeros that run over.

    The gaps of the output and what is left of its last vector become zero.
    """
    height, width = kernel.taps
    lines = []
    for line in range(height):
        lines.append(f"                {{ const float *q = p + {line} * pitch;")
        lines.append(
            "                vector u = load(q), v = load(q + LANES), lanes0 = even(u, v), lanes1 = odd(u, v);"
        )
        for column in range(width):
            if column > 1:
                lines.append(
                    f"                lanes{column % 2} = next_lanes(lanes{column % 2}, q[2 * LANES + {column - 2}]);"
                )
            lines.append(f"                a += k[{line * width + column}] * lanes{column % 2};")
        lines.append("                (void)lanes1; }")
    taps = "\n".join(lines)
    value = finished(kernel.epilogue, "a", "residual + c * y_plane + oy * y_pitch + ox")
    return f"""
static void {kernel.name}(worker w, const float *weights, const float *bias, const int32_t *mask,
                          const int32_t *edges, int channels, int multiplier, ptrdiff_t x_plane, ptrdiff_t y_plane,
                          int pitch, int lanes, int y_pitch, int y_height, int y_width, const float *x, float *y,
                          const float *residual) {{
    range own = share(w, channels);
    lanes_mask inside;
    for (int i = 0; i < LANES; i++) inside[i] = -(i < y_width);
    for (int c = own.from; c < own.to; c++) {{
        const float *in = x + c / multiplier * x_plane;
        vector b = splat(bias[c]), k[{height * width}] = {{{_splat_taps(kernel)}}};
        for (int oy = 0; oy < y_height; oy++) {{
            float *row = y + c * y_plane + oy * y_pitch;
            for (int at = 0; at < y_width; at += LANES) {{
                int ox = at + LANES <= y_width || y_width < LANES ? at : y_width - LANES;
                const float *p = in + 2 * (oy * pitch + ox);
                vector a = b;
{taps}
                float *out = row + ox;
                vector sum = (vector)((lanes_mask){value} & inside);
                if (y_width >= LANES || oy * y_pitch + LANES <= lanes) store(out, sum);
                else memcpy(out, &sum, (size_t)y_width * sizeof(float));
            }}
            for (int gap = y_width; gap < y_pitch; gap++) row[gap] = 0.0f;
        }}
        for (int end = y_height * y_pitch; end < lanes; end++) y[c * y_plane + end] = 0.0f;
    }}
    (void)mask, (void)edges, (void)residual;
}}
"""
