"""The taps of a strided convolution as plain shifts of phase images.

A convolution of stride s reads, for output row y and kernel row ky, the input row s*y + ky*dilation - padding
= s*(y + shift) + phase. Split into its s phase images, the input of every tap is one shifted image, and the
convolution is a stride-1 convolution over (phase, channel) planes. Stride 1 has one phase: the input itself.
"""

from dataclasses import dataclass

from spokeshave.compiler.operations import Convolution


@dataclass(frozen=True)
class Tap:
    """One kernel position: which phase image it reads, shifted by how many rows and columns."""

    phase: tuple[int, int]
    shift: tuple[int, int]


def taps(convolution: Convolution, kernel: tuple[int, int]) -> tuple[Tap, ...]:
    """Taps in the order of the weight's kernel positions (row-major).

    >>> [tap.shift for tap in taps(Convolution("w", None, padding=(0, 1, 0, 1)), (1, 3))]
    [(0, -1), (0, 0), (0, 1)]
    """
    (stride_y, stride_x), (dilation_y, dilation_x) = convolution.stride, convolution.dilation
    top, left = convolution.padding[:2]
    result = []
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            shift_y, phase_y = divmod(ky * dilation_y - top, stride_y)
            shift_x, phase_x = divmod(kx * dilation_x - left, stride_x)
            result.append(Tap((phase_y, phase_x), (shift_y, shift_x)))
    return tuple(result)


def phase_size(size: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the largest phase image (phase 0).

    >>> phase_size((7, 8), (2, 2))
    (4, 4)
    """
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])


def margins(
    all_taps: tuple[Tap, ...], read: tuple[int, int], stride: tuple[int, int], written: tuple[int, int]
) -> tuple[int, int]:
    """Zero rows and zero columns needed around each image of size `read` so that no tap leaves them.

    The smallest phase image counts: what lies behind its last row or column must be zero as well.
    """
    rows = columns = 0
    for tap in all_taps:
        height = -(-(read[0] - tap.phase[0]) // stride[0])
        width = -(-(read[1] - tap.phase[1]) // stride[1])
        rows = max(rows, -tap.shift[0], written[0] + tap.shift[0] - height)
        columns = max(columns, -tap.shift[1], written[1] + tap.shift[1] - width)
    return rows, columns
