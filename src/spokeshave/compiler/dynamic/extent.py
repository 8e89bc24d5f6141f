"""Axes of inputs and outputs that follow the caller's lengths."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from spokeshave.compiler.count import Count
from spokeshave.errors import SpokeshaveError


@dataclass(frozen=True)
class Extent:
    """An axis of an input or output: `offset` plus, for each length, `scales` times it."""

    value: str
    axis: int
    scales: tuple[int, ...]
    offset: int

    def size(self, lengths: Sequence[int]) -> int:
        """How long the axis is.

        >>> Extent("mask", 1, (1, 1), 0).size((5, 7))
        12
        """
        return self.offset + sum(scale * length for scale, length in zip(self.scales, lengths, strict=True))

    @cached_property
    def only(self) -> int | None:
        """The length that this axis is, where it is one and nothing else."""
        plain = not self.offset and sorted(self.scales) == [*(0,) * (len(self.scales) - 1), 1]
        return self.scales.index(1) if plain else None


def counted(extent: Extent, lengths: Sequence[int]) -> int:
    """The size as generated code computes it; `lengths` are the greatest ones."""
    size = extent.offset
    for index, (scale, length) in enumerate(zip(extent.scales, lengths, strict=True)):
        if scale:
            size = Count.length(length, index) * scale + size
    return size


def extents_of(name: str, extents: Sequence[Extent]) -> tuple[Extent, ...]:
    """The axes of one value."""
    return tuple(extent for extent in extents if extent.value == name)


def at_lengths(
    name: str, sample: tuple[int, ...], extents: tuple[Extent, ...], lengths: Sequence[int]
) -> tuple[int, ...]:
    """Shape of one sample of a value at the caller's lengths."""
    sizes = list(sample)
    for extent in extents:
        if extent.value == name:
            sizes[extent.axis - 1] = extent.size(lengths)
    return tuple(sizes)


def lengths_given(
    names: Sequence[str], inputs: Sequence[Any], extents: Sequence[Extent], capacity: Sequence[int]
) -> tuple[int, ...]:
    """The lengths that inputs have, as the axes that are one length alone tell; the greatest where none does.

    Raises SpokeshaveError for a length that is not from 1 to the greatest.
    """
    lengths = list(capacity)
    for extent in reversed(extents):
        index = extent.only
        if index is None or extent.value not in names:
            continue
        position = names.index(extent.value)
        tensor = inputs[position] if position < len(inputs) else None
        if isinstance(tensor, Tensor) and extent.axis < tensor.dim():
            lengths[index] = tensor.shape[extent.axis]
        if not 1 <= lengths[index] <= capacity[index]:
            raise SpokeshaveError(
                f"input {position} is {lengths[index]} long on axis {extent.axis}; this deployment takes 1 to "
                f"{capacity[index]}"
            )
    return tuple(lengths)
