"""The taps of a strided convolution as plain shifts of phase images.

A convolution of stride s reads, for output row y and kernel row ky, the input row s*y + ky*dilation - padding
= s*(y + shift) + phase. Split into its s phase images, the input of every tap is one shifted image, and the
convolution is a stride-1 convolution over (phase, channel) planes. Stride 1 has one phase: the input itself.

A shift by columns needs zero columns between rows, which waste lanes: many on small maps. These are read *tight*: there
each kernel column has images of its own, shifted already, and only shifts by whole rows are left.
"""

from dataclasses import dataclass

from spokeshave.compiler.count import Count
from spokeshave.compiler.operations import Convolution
from spokeshave.compiler.schedule import LEFT_LANE

WORTH_IMAGES = 0.95  # of the vectors of a map with gaps: what making the images costs
MOST_COLUMNS = 5  # of the kernel; wider ones would make more images than they are worth


@dataclass(frozen=True)
class Tap:
    """One kernel position: which image it reads, shifted by how many rows and columns.

    The image begins at row and column `phase` of the map; the column may lie outside it.
    """

    phase: tuple[int, int]
    shift: tuple[int, int]


def is_tight(kernel: tuple[int, int], written: tuple[int, int], lanes: int, words: bool = False) -> bool:
    """Whether a kernel that makes a map of size `written` reads one image for each of its columns.

    Behind the last row there is no gap, so a single lane may be left. In words it costs more than images, which are
    a fraction as long there (measured at 14 x 14).

    >>> [is_tight((3, 3), (size, size), 16) for size in (7, 14, 28)]
    [True, False, False]
    >>> [is_tight((3, 3), (size, size), 16, words=True) for size in (7, 14, 28)]
    [True, True, False]
    """
    height, width = written
    if not 1 < kernel[1] <= MOST_COLUMNS or isinstance(height, Count) or isinstance(width, Count):
        return False
    with_gaps = height * (width + 1) - (0 if words else 1)
    return _vectors(height * width, lanes) <= WORTH_IMAGES * _vectors(with_gaps, lanes)


def _vectors(positions: int, lanes: int) -> float:
    whole, left = divmod(positions, lanes)
    return whole + (LEFT_LANE if left == 1 and whole else float(left > 0))


def taps(convolution: Convolution, kernel: tuple[int, int], tight: bool = False) -> tuple[Tap, ...]:
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
            start = kx * dilation_x - left
            shift_x, phase_x = (0, start) if tight else divmod(start, stride_x)
            result.append(Tap((phase_y, phase_x), (shift_y, shift_x)))
    return tuple(result)


def phase_size(size: tuple[int, int], stride: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the largest phase image (phase 0).

    >>> phase_size((7, 8), (2, 2))
    (4, 4)
    """
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])


def margins(
    all_taps: tuple[Tap, ...],
    read: tuple[int, int],
    stride: tuple[int, int],
    written: tuple[int, int],
    tight: bool = False,
) -> tuple[int, int]:
    """Zero rows and zero columns needed around each image of size `read` so that no tap leaves them.

    The smallest phase image counts: what lies behind its last row or column must be zero as well. Images of tight taps
    are as wide as what is written.
    """
    rows = columns = 0
    for tap in all_taps:
        height = -(-(read[0] - tap.phase[0]) // stride[0])
        width = -(-(read[1] - tap.phase[1]) // stride[1])
        rows = max(rows, -tap.shift[0], written[0] + tap.shift[0] - height)
        columns = max(columns, -tap.shift[1], written[1] + tap.shift[1] - width)
    return rows, 0 if tight else columns
