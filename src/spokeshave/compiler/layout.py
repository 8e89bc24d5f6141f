"""Where a value's elements lie in memory.

Every layout is a set of strides, so that one strided copy moves a value between any two layouts.

`Planes` keeps each channel of a `[1, C, H, W]` value as one flat plane of rows that are `pitch` floats apart:

        front          row 0               row 1
    | 0 0 0 ... | x x x x x x 0 0 | x x x x x x 0 0 | ...
                  width       gap

The gap columns and the margin before each plane are zero and stay zero, so a tap of a stride-1 convolution is one
constant shift of the whole plane: no im2col is made, and the output already lies as the next input (GRIM's reading of
a convolution as a matrix product, arXiv 2108.11033, without the matrix). A `[1, T, F]` value lies the same way with
its last axis as channels and its tokens as one row. Everything else is `Flat`: row-major.

Values of lower precision lie in planes of words, each as wide as a float: four uint8 channels of one position, or two
bfloat16 channels, are one word. So pitch, taps, margins and copies are those of float planes with fewer channels.
"""

from dataclasses import dataclass
from math import prod

from spokeshave.compiler.count import Count

FLOAT_BYTES = 4
CACHE_LINE_FLOATS = 16
CHANGES = -1  # in place of a number of lanes: it is known when the network runs
CHANNELS_PER_WORD = {"float32": 1, "bfloat16": 2, "uint8": 4}


@dataclass(frozen=True)
class Flat:
    """Row-major elements of one sample."""

    shape: tuple[int, ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each axis (batch axis left out)."""
        return tuple(prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    @property
    def origin(self) -> int:
        """Offset of the first element, in floats."""
        return 0

    @property
    def floats(self) -> int:
        """Room to reserve, in floats: rounded up, because kernels write whole vectors."""
        return int(round_up(prod(self.shape), 64)) + 64


@dataclass(frozen=True)
class Planes:
    """Channels, or words of channels, as flat planes.

    `tokens` marks a `[1, T, F]` value (height 1, width T, channels F).
    """

    channels: int
    height: int
    width: int
    pitch: int
    front: int
    lanes: int  # height * pitch rounded up to whole vectors
    plane: int  # floats from one plane to the next
    tokens: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value without its batch axis."""
        return (self.width, self.channels) if self.tokens else (self.channels, self.height, self.width)

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours along each axis (batch axis left out)."""
        return (1, self.plane) if self.tokens else (self.plane, self.pitch, 1)

    @property
    def origin(self) -> int:
        """Offset of channel 0, row 0, column 0, in floats."""
        return self.front

    @property
    def floats(self) -> int:
        """Room to reserve, in floats: one plane more takes the rows that pad the last group of channels."""
        last = int(self.lanes) + self.front if self.slides else self.plane
        return int(self.channels) * self.plane + last + self.front

    @property
    def slides(self) -> bool:
        """Whether planes overlap, since only a window of their lanes is alive at a time (`emit/bands.py`)."""
        return self.plane < int(self.lanes)

    def left(self, lanes: int) -> int:
        """True lanes of the last vector, where whole vectors of `lanes` come before it, else 0; CHANGES for tokens
        whose number does."""
        if isinstance(self.height, Count) or isinstance(self.width, Count):
            return CHANGES if self.tokens else 0
        last = (self.height - 1) * self.pitch + self.width
        return last % lanes if last > lanes and self.lanes - last < lanes else 0


Layout = Flat | Planes


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple that is not below `value`.

    >>> round_up(17, 16)
    32
    """
    return value.rounded_up(multiple) if isinstance(value, Count) else -(-value // multiple) * multiple


def words(channels: int, dtype: str) -> int:
    """Planes that channels of an element type fill.

    >>> words(10, "uint8")
    3
    """
    return round_up(channels, CHANNELS_PER_WORD[dtype]) // CHANNELS_PER_WORD[dtype]


@dataclass(frozen=True)
class Grid:
    """What values that share one pitch have in common: pitch and front margin, in floats."""

    pitch: int
    front: int

    def planes(
        self, channels: int, height: int, width: int, lane_multiple: int, tokens: bool = False
    ) -> Planes:
        """Lay out a value on this grid.

        The plane is an odd number of cache lines long, so that the same position of neighbouring channels falls into
        different cache sets.
        """
        changes = height == 1 and isinstance(width, Count)
        lanes = round_up(width if changes else height * self.pitch, lane_multiple)
        lines = (self.front + int(lanes) + CACHE_LINE_FLOATS - 1) // CACHE_LINE_FLOATS
        plane = (lines | 1) * CACHE_LINE_FLOATS
        return Planes(channels, height, width, self.pitch, self.front, lanes, plane, tokens)
