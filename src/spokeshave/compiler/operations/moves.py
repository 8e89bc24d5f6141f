"""Operations that move elements and change none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reshape:
    """The same elements in row-major order under the output's shape."""


@dataclass(frozen=True)
class Permute:
    """Axes in another order; axis 0 stays."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Interleave:
    """Maps of phases become one: element (y, x) is that of phase (y % rows, x % columns), at (y / rows, x / columns).

    Channels are group by group, in a group phase by phase, row-major; what lies behind the output's end is left out.
    """

    rows: int
    columns: int
    groups: int = 1


@dataclass(frozen=True)
class Expand:
    """Axes of length 1 repeated to the output's shape."""


@dataclass(frozen=True)
class Slice:
    """Every `step`-th element of one axis from `start` up to `stop` (exclusive); all non-negative."""

    axis: int
    start: int
    stop: int
    step: int


@dataclass(frozen=True)
class Take:
    """Elements of one axis at constant places; `indices` names them, an int64 weight."""

    axis: int
    indices: str


@dataclass(frozen=True)
class Concatenate:
    """Join values along one axis (never the batch axis)."""

    axis: int


@dataclass(frozen=True)
class Pad:
    """Pad with a constant: `before[i]` and `after[i]` elements on axis i."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0


@dataclass(frozen=True)
class Patches:
    """A map `[1, C, H, W]` cut into patches, each a token: `[1, T, C * height * width]`, patches row by row.

    With `before`, as many tokens of zeros stand in front of them.
    """

    height: int
    width: int
    before: int = 0


@dataclass(frozen=True)
class Constant:
    """A weight as a value, for readers that have no form for a constant.

    With `start` it is a window of the weight, which then has the sample axis in front: as many elements of `axis` as
    the value has, from `start` on.
    """

    weight: str
    axis: int = 0
    start: int | None = None
