"""The planes that a convolution's taps read: its input itself, or images of it (`taps.py`)."""

import numpy as np

from spokeshave.compiler.count import Count
from spokeshave.compiler.emit.arena import ALIGNMENT_FLOATS
from spokeshave.compiler.emit.lowering import Lowering, zero_pattern
from spokeshave.compiler.emit.program import Place
from spokeshave.compiler.emit.taps import Tap, phase_size
from spokeshave.compiler.layout import Grid, Planes
from spokeshave.compiler.operations import Convolution

FOUR_BYTES = 0x01010101


def images(
    lowering: Lowering,
    operation: Convolution,
    value: str,
    written: Planes,
    all_taps: tuple[Tap, ...],
    tight: bool = False,
    zero_byte: int = 0,
) -> tuple[Place, Planes]:
    """Where the taps read: the input for stride 1 unless the taps are tight, else images on the output's grid.

    `zero_byte` is what every byte of the gaps holds (the zero point of a quantized value).
    """
    read = lowering.layout(value)
    assert isinstance(read, Planes)
    if operation.stride == (1, 1) and not tight:
        return lowering.place(value), read
    used = _used(all_taps)
    height, width = phase_size((read.height, read.width), operation.stride)
    layout = Grid(written.pitch, written.front).planes(
        read.channels * len(used), height, written.width if tight else width, lowering.isa.lanes
    )
    temporary = lowering.temporary(layout, zero_pattern(zero_byte))
    lowering.fill_gaps(temporary, zero_byte)
    for index, start in enumerate(used):
        target = lowering.place(temporary)
        target = Place(temporary, target.offset + index * read.channels * layout.plane)
        _image(lowering, operation.stride, start, lowering.place(value), read, target, layout, zero_byte)
    return lowering.place(temporary), layout


def image_count(operation: Convolution, all_taps: tuple[Tap, ...], tight: bool = False) -> int:
    """How many images of the input, or its own planes, the taps read."""
    return 1 if operation.stride == (1, 1) and not tight else len(_used(all_taps))


def _image(
    lowering: Lowering,
    stride: tuple[int, int],
    start: tuple[int, int],
    source: Place,
    read: Planes,
    target: Place,
    layout: Planes,
    zero_byte: int,
) -> None:
    """One image, which begins at row and column `start` of the map."""
    zero = zero_byte * FOUR_BYTES - (zero_byte >> 7 << 32)
    planes = read.channels, read.plane, layout.plane
    y, x = start
    same_grid = stride == (1, 1) and (read.pitch, read.height) == (layout.pitch, layout.height)
    if same_grid and abs(x) <= ALIGNMENT_FLOATS:
        place = Place(source.buffer, source.offset + x)
        mask = lowering.constant(_inside(read, layout, x))
        lowering.call("shifted_image", place, target, *planes, layout.lanes, mask, zero)
        return
    left = min(-(x // stride[1]), layout.width) if x < 0 else 0
    count = -(-(read.width - x) // stride[1]) - left
    count = count if isinstance(count, Count) else max(0, min(count, layout.width - left))
    first = source.offset + y * read.pitch + x + left * stride[1]
    rows = max(0, -(-(read.height - y) // stride[0]))
    lanes = int(layout.lanes)
    lowering.call(
        "strided_image",
        Place(source.buffer, first if count else source.offset),
        target,
        *planes,
        rows,
        read.pitch * stride[0],
        stride[1],
        left,
        count,
        min(layout.pitch, lanes),
        lanes,
        zero,
    )


def _inside(read: Planes, layout: Planes, start: int) -> np.ndarray:
    """-1 for each lane of an image that a position of the map lies at."""
    lane = np.arange(layout.lanes)
    row, column = lane // layout.pitch, lane % layout.pitch + start
    return -((row < read.height) & (column >= 0) & (column < read.width)).astype(np.int32)


def _used(all_taps: tuple[Tap, ...]) -> list[tuple[int, int]]:
    return sorted({tap.phase for tap in all_taps})


def column_offsets(all_taps: tuple[Tap, ...], channels: int, read: Planes, read_channels: int) -> np.ndarray:
    """Floats from the first position of x to what each column of the matrix reads, all groups' columns in a row."""
    used = _used(all_taps)
    phase_start = np.array([used.index(tap.phase) * read_channels for tap in all_taps])
    shift = np.array([tap.shift[0] * read.pitch + tap.shift[1] for tap in all_taps])
    return ((np.arange(channels)[:, None] + phase_start) * read.plane + shift).ravel()
