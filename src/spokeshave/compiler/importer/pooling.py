"""Imports pooling, means and sums."""

import operator
from math import prod

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.maps import map_shape, over_both_axes, to_maps
from spokeshave.compiler.importer.operands import Flow, NotTypedError
from spokeshave.compiler.operations import Mean, Operation, Permute, Pool, Sum


def _spatial(call: Call) -> int:
    return 1 if "1d" in call.operator else 2


def _pooled(context: Context, call: Call, operation: Operation) -> Flow:
    spatial = _spatial(call)
    maps = to_maps(context, call, call.flow("self"), spatial)
    return context.result(call, context.add(call, operation, (maps,), map_shape(call.shape, spatial)))


def _window(call: Call) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    """Kernel, stride (the kernel where none is given) and padding."""
    spatial = _spatial(call)
    kernel = over_both_axes(call["kernel_size"], spatial, 1)
    stride = over_both_axes(call["stride"], spatial, 1) if call["stride"] else kernel
    top, left = over_both_axes(call["padding"], spatial, 0)
    return kernel, stride, (top, left, top, left)


def max_pool(context: Context, call: Call) -> Flow:
    """A max pool."""
    return _pooled(
        context, call, Pool("max", *_window(call), over_both_axes(call["dilation"], _spatial(call), 1))
    )


def max_pool_with_indices(context: Context, call: Call) -> tuple[Flow, None]:
    """A max pool of whose results only the first is used."""
    _only_first(call, "the indices of a max pool")
    return max_pool(context, call), None


def average_pool(context: Context, call: Call) -> Flow:
    """An average pool."""
    if call.get("divisor_override") is not None:
        raise NotTypedError("an average pool with a divisor of its own has no kernel")
    return _pooled(context, call, Pool("average", *_window(call), count_padding=call["count_include_pad"]))


def adaptive_average_pool(context: Context, call: Call) -> Flow:
    """To one position a mean, to a divisor of the map a pool."""
    if map_shape(call.shape, _spatial(call))[2:] == (1, 1):
        return _pooled(context, call, Mean((2, 3), keep=True))
    window = _even_window(call)
    return _pooled(context, call, Pool("average", window, window))


def adaptive_max_pool(context: Context, call: Call) -> tuple[Flow, None]:
    """To a divisor of the map; of the two results only the first is used."""
    _only_first(call, "the indices of a max pool")
    window = _even_window(call)
    return _pooled(context, call, Pool("max", window, window)), None


def _only_first(call: Call, what: str) -> None:
    if any(user.target is not operator.getitem or user.args[1] != 0 for user in call.node.users):
        raise NotTypedError(f"{what} have no kernel")


def _even_window(call: Call) -> tuple[int, int]:
    _, _, height, width = map_shape(call.flow("self").shape, _spatial(call))
    _, _, rows, columns = map_shape(call.shape, _spatial(call))
    if 0 in (rows, columns) or height % rows or width % columns:
        raise NotTypedError(
            f"an adaptive pool of {height} x {width} to {rows} x {columns} has uneven windows"
        )
    return height // rows, width // columns


def total(context: Context, call: Call) -> Flow:
    """A mean or sum over some axes, or over all of them; the sample axis, of length 1, changes nothing."""
    source = call.flow("self")
    rank, shift = len(source.shape), int(source.unbatched)
    given = call.get("dim") or range(rank)
    axes = tuple(sorted({axis % rank + shift for axis in given if rank} - {0}))
    if not axes:
        return context.result(call, source.name)
    kind = Mean if call.operator == "mean" else Sum
    before = source.value_shape
    keep = len(before) == 4 and bool(call.get("keepdim"))
    if axes != {4: (2, 3), 3: (1,)}.get(len(before)):
        return context.result(call, _over_last(context, call, source.name, axes, kind))
    after = [1 if axis in axes else size for axis, size in enumerate(before) if keep or axis not in axes]
    return context.result(call, context.add(call, kind(axes, keep), (source.name,), after))


def _over_last(
    context: Context, call: Call, value: str, axes: tuple[int, ...], kind: type[Mean] | type[Sum]
) -> str:
    """Any axes: brought to the end and taken together as channels of tokens."""
    shape = context.values[value].shape
    kept = tuple(axis for axis in range(len(shape)) if axis not in axes)
    order = (*kept, *axes)
    if order != tuple(range(len(shape))):
        value = context.add(call, Permute(order), (value,), [shape[axis] for axis in order])
    tokens = (1, prod(shape[axis] for axis in kept), prod(shape[axis] for axis in axes))
    value = context.reshaped(call, value, tokens)
    return context.add(call, kind((2,), keep=True), (value,), (*tokens[:2], 1))


OPERATORS: dict[str, ImportFunction] = {
    **dict.fromkeys(("max_pool1d", "max_pool2d"), max_pool),
    "max_pool2d_with_indices": max_pool_with_indices,
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), average_pool),
    **dict.fromkeys(
        ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"), adaptive_average_pool
    ),
    **dict.fromkeys(("adaptive_max_pool1d", "adaptive_max_pool2d"), adaptive_max_pool),
    **dict.fromkeys(("mean", "sum"), total),
}
