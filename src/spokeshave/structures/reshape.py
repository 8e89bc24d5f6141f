"""Labels through a reshape: axes that merge, and axes that are cut, such as channels into heads."""

from collections.abc import Iterator, Sequence
from math import prod

from spokeshave.structures.labels import Axes, Axis, Labels


def reshaped(labels: Labels, axes: Axes, before: Sequence[int], after: Sequence[int]) -> Axes:
    """The axes of a tensor of shape `before` seen as `after`.

    An axis cut in several keeps labels on the last but one of them, heads of `[..., heads, features]`: whole heads
    stay or go.
    """
    found: dict[int, Axis] = {}
    for inner, outer in _matches(before, after):
        merged = _merged(labels, [axes[index] for index in inner], [before[index] for index in inner])
        sizes = [after[index] for index in outer]
        found.update(zip(outer, _cut(labels, merged, sizes), strict=True))
    return tuple(found.get(index) for index in range(len(after)))


def _matches(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Shortest runs of axes with equally many elements; axes of length 1 are in none."""
    first = [index for index, size in enumerate(before) if size != 1]
    second = [index for index, size in enumerate(after) if size != 1]
    while first:
        inner, outer = [first.pop(0)], [second.pop(0)]
        while (left := prod(before[i] for i in inner)) != (right := prod(after[i] for i in outer)):
            if left < right:
                inner.append(first.pop(0))
            else:
                outer.append(second.pop(0))
        yield inner, outer


def _merged(labels: Labels, axes: list[Axis], sizes: list[int]) -> Axis:
    labelled = [index for index, axis in enumerate(axes) if axis is not None]
    if len(labelled) != 1:
        labels.keep(axes, "two axes that could shrink are merged into one")
        return None
    (index,) = labelled
    inside, outside = prod(sizes[index + 1 :]), prod(sizes[:index])
    spread = tuple(label for label in axes[index] or () for _ in range(inside))
    return spread * outside


def _cut(labels: Labels, axis: Axis, sizes: list[int]) -> list[Axis]:
    if axis is None or len(sizes) == 1:
        return [axis] * len(sizes)
    heads, features = sizes[-2], sizes[-1]
    groups: list[list[int]] = [[] for _ in range(heads)]
    for place, label in enumerate(axis):
        groups[place // features % heads].append(label)
    for group in groups:
        labels.tie_all(group)
    return [*[None] * (len(sizes) - 2), tuple(group[0] for group in groups), None]
