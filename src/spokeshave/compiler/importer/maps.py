"""Brings the inputs of convolutions, pools and channel norms to maps `[1, C, H, W]`."""

from collections.abc import Sequence
from math import prod

from spokeshave.compiler.importer.context import Call, Context
from spokeshave.compiler.importer.operands import Flow, NotTypedError


def over_both_axes(sizes: int | Sequence[int], spatial: int, fill: int) -> tuple[int, int]:
    """Sizes along height and width; the height of a 1-D operation gets `fill`.

    >>> over_both_axes(3, 2, 1), over_both_axes([3], 1, 1), over_both_axes([2, 3], 2, 1)
    ((3, 3), (1, 3), (2, 3))
    """
    entries = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return (fill, entries[0]) if spatial == 1 else (entries[0], entries[-1])


def map_shape(shape: Sequence[int], spatial: int) -> tuple[int, int, int, int]:
    """Shape of the map for an input with `spatial` axes after the channels; a batch axis is not needed.

    >>> map_shape((1, 3, 8), 1), map_shape((3, 8, 9), 2)
    ((1, 3, 1, 8), (1, 3, 8, 9))
    """
    *batch, channels = shape[:-spatial]
    if len(batch) > 1 or batch not in ([], [1]):
        raise NotTypedError(f"its batch axis holds {prod(batch)} maps of one sample")
    height, width = shape[-spatial:] if spatial == 2 else (1, shape[-1])
    return (1, channels, height, width)


def to_maps(context: Context, call: Call, source: Flow, spatial: int) -> str:
    """The map of a 1-D or 2-D operation's input."""
    return context.reshaped(call, source.name, map_shape(source.shape, spatial))


def to_channels(context: Context, call: Call, source: Flow) -> str:
    """A value with channels on axis 1 as `[1, C]` or as the map `[1, C, H, W]`, whatever axes follow."""
    shape = source.shape
    if shape[:1] != (1,) or len(shape) < 2:
        raise NotTypedError(f"its batch axis holds {shape[0] if shape else 0} entries of one sample")
    flat = shape if len(shape) == 2 else (1, shape[1], prod(shape[2:-1]), shape[-1])
    return context.reshaped(call, source.name, flat)
