"""The taps of a strided convolution as plain shifts of phase images.

A convolution of stride s reads, for output row y and kernel row ky, the input row s*y + ky*dilation - padding
= s*(y + shift) + phase. Split into its s phase images, the input of every tap is one shifted image, and the
convolution is a stride-1 convolution over (phase, channel) planes. Stride 1 has one phase: the input itself.

A shift by columns needs zero columns between rows, which waste lanes: many on small maps. These lie without such gaps.
In float32 what a shift brings over from the next row is then masked (`edges`). In lower precision they are read
*tight*: each kernel column has images of its own, shifted already, and only shifts by whole rows are left.
"""

from dataclasses import dataclass

import numpy as np

from spokeshave.compiler.count import Count
from spokeshave.compiler.layout import Planes
from spokeshave.compiler.operations import Convolution
from spokeshave.compiler.schedule import LEFT_LANE

# Vectors of a map without gaps, of those with gaps, up to which it is worth making images, or masking.
WORTH_IMAGES, WORTH_MASKS = 0.95, 0.97
MOST_COLUMNS = 5  # of the kernel; wider ones would make more images than they are worth


@dataclass(frozen=True)
class Tap:
    """One kernel position: which image it reads, shifted by how many rows and columns.

    The image begins at row and column `phase` of the map; the column may lie outside it.
    """

    phase: tuple[int, int]
    shift: tuple[int, int]


def lies_without_gaps(
    kernel: tuple[int, int], written: tuple[int, int], lanes: int, words: bool = False
) -> bool:
    """Whether a kernel that makes a map of size `written` wants it without gaps, in float32 or in `words`.

    Behind the last row there is no gap, so a few lanes may be left. In words they cost more than images, which are
    a fraction as long there (measured at 14 x 14).

    >>> [lies_without_gaps((3, 3), (size, size), 16) for size in (7, 14, 28, 56)]
    [True, True, True, False]
    >>> [lies_without_gaps((3, 3), (size, size), 16, words=True) for size in (7, 14, 28, 56)]
    [True, True, False, False]
    """
    height, width = written
    if not 1 < kernel[1] <= MOST_COLUMNS or isinstance(height, Count) or isinstance(width, Count):
        return False
    without = _vectors(height * width, lanes)
    if words:
        return without <= WORTH_IMAGES * _vectors(height * (width + 1), lanes)
    return without <= WORTH_MASKS * _vectors(height * (width + 1) - 1, lanes)


def _vectors(positions: int, lanes: int) -> float:
    whole, left = divmod(positions, lanes)
    return whole + (min(1.0, LEFT_LANE * left) if whole else float(left > 0))


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


def edges(all_taps: tuple[Tap, ...], read: Planes, written: Planes) -> tuple[np.ndarray, np.ndarray] | None:
    """Where taps stay in the row of the planes that they read, which have the pitch of `written`.

    Masks `[different shifts by columns, lanes]`, -1 where such a shift stays, and the number of each tap's; None where
    there are gaps enough.

    >>> from spokeshave.compiler.layout import Grid
    >>> planes = Grid(3, 16).planes(1, 2, 3, 6)
    >>> masks, which = edges(taps(Convolution("w", None, padding=(0, 1, 0, 1)), (1, 3)), planes, planes)
    >>> masks.tolist()
    [[0, -1, -1, 0, -1, -1], [-1, -1, -1, -1, -1, -1], [-1, -1, 0, -1, -1, 0]]
    >>> which.tolist()
    [0, 1, 2]
    """
    shifts, which = np.unique([tap.shift[1] for tap in all_taps], return_inverse=True)
    reach = max(read.width - int(shifts[0]), written.width + int(shifts[-1]))
    if reach <= written.pitch:
        return None
    column = np.arange(int(written.lanes)) % written.pitch + shifts[:, None]
    return -((column >= 0) & (column < written.pitch)).astype(np.int32), which
