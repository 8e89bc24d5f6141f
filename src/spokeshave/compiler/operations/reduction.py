"""Operations that sum over elements: pooling, means, softmax, normalisation."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Pool:
    """Max or average pooling of `[1, C, H, W]`; `padding` is (top, left, bottom, right).

    Output size is that of the graph's value (which settles ceil mode). Average pooling divides by the window's size
    with padding counted in when `count_padding`, by the number of true elements otherwise.
    """

    kind: Literal["max", "average"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    count_padding: bool = True


@dataclass(frozen=True)
class Mean:
    """Mean over axes (sorted, never the batch axis)."""

    axes: tuple[int, ...]
    keep: bool


@dataclass(frozen=True)
class Sum:
    """Sum over axes (sorted, never the batch axis)."""

    axes: tuple[int, ...]
    keep: bool


@dataclass(frozen=True)
class Softmax:
    """Softmax over one axis, or its logarithm.

    With `polynomial` it is that of `spokeshave.polynomials`, whose rows add up to this number.
    """

    axis: int
    logarithm: bool = False
    polynomial: float | None = None


@dataclass(frozen=True)
class LayerNorm:
    """Normalise over the last `axes` axes, then scale and shift."""

    axes: int
    weight: str | None
    bias: str | None
    epsilon: float


@dataclass(frozen=True)
class GroupNorm:
    """Normalise over groups of channels (axis 1) and all positions, then scale and shift per channel."""

    groups: int
    weight: str | None
    bias: str | None
    epsilon: float


@dataclass(frozen=True)
class RMSNorm:
    """Divide by the root of the mean square over the last axis, then scale (arXiv 1910.07467)."""

    weight: str | None
    epsilon: float
