"""What a user says about lengths that change: which axes of which inputs each of them is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

from spokeshave.errors import SpokeshaveError

Axes = Mapping[str | int, int]
Dynamic = Axes | Mapping[str, Axes]
SHORTEST = 4  # a network is also imported two elements shorter, and must not meet an axis of length 1 there


@dataclass(frozen=True)
class Length:
    """One length: its name, the axes that it is (or that it adds to), by input position, and its greatest value."""

    name: str
    axes: Mapping[int, int]
    greatest: int


def lengths_of(
    names: Sequence[str], example: Sequence[Tensor], dynamic: Dynamic, batch: Sequence[int] | None = None
) -> tuple[Length, ...]:
    """Every length; raises SpokeshaveError for names, axes and lengths that cannot be meant.

    `dynamic` is `{input: axis}` for one length, or `{length: {input: axis}}` for several; an input is a name, a
    shell-style pattern over names, or a position. An axis that belongs to several lengths is as long as all of them.
    `batch` are the inputs' batch axes, the first unless told.
    """
    groups = _groups(dynamic)
    axes = {
        length: _axes(names, example, group, batch or [0] * len(names)) for length, group in groups.items()
    }
    return tuple(Length(length, axes[length], _greatest(length, axes, example)) for length in axes)


def _groups(dynamic: Dynamic) -> dict[str, Axes]:
    grouped = {str(name): axes for name, axes in dynamic.items() if isinstance(axes, Mapping)}
    if not grouped:
        return {"length": {key: axis for key, axis in dynamic.items() if isinstance(axis, int)}}
    if len(grouped) < len(dynamic) or not all(grouped.values()):
        raise SpokeshaveError(
            "give every changing axis a length: {'tokens': {'ids': 1}, 'past': {'keys': 2}}"
        )
    return grouped


def _axes(
    names: Sequence[str], example: Sequence[Tensor], group: Axes, batch: Sequence[int]
) -> dict[int, int]:
    axes: dict[int, int] = {}
    for key, axis in group.items():
        positions = (
            [key] if isinstance(key, int) else [i for i, name in enumerate(names) if fnmatchcase(name, key)]
        )
        positions = [position for position in positions if 0 <= position < len(example)]
        if not positions:
            raise SpokeshaveError(f"there is no input {key!r}; the inputs are {', '.join(names)}")
        for position in positions:
            if not 0 <= axis < example[position].dim() or axis == batch[position]:
                raise SpokeshaveError(f"input {key!r} has no axis {axis} whose length could change")
            axes[position] = axis
    return axes


def _greatest(length: str, axes: Mapping[str, Mapping[int, int]], example: Sequence[Tensor]) -> int:
    """The size of the axes that are this length alone."""
    others = [item for name, group in axes.items() if name != length for item in group.items()]
    own = [item for item in axes[length].items() if item not in others]
    sizes = sorted({example[position].shape[axis] for position, axis in own})
    if not sizes:
        raise SpokeshaveError(f"no axis is the length {length!r} alone, so that none could tell it")
    if len(sizes) > 1 or sizes[0] < SHORTEST:
        raise SpokeshaveError(
            f"the example's changing axes are {sizes} long; they must have one length of at least {SHORTEST}"
        )
    return sizes[0]


def resized(example: Sequence[Tensor], lengths: Sequence[Length], sizes: Sequence[int]) -> list[Tensor]:
    """Zeros in the example's shapes at other lengths: a network is exported by shapes alone."""
    shapes = [list(tensor.shape) for tensor in example]
    for length, size in zip(lengths, sizes, strict=True):
        for position, axis in length.axes.items():
            shapes[position][axis] += size - length.greatest
    return [tensor.new_zeros(shape) for tensor, shape in zip(example, shapes, strict=True)]
