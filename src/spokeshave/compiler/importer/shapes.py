"""Imports what changes no element: copies, reshapes, permutations."""

from math import prod

import torch
from torch import Tensor

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError, dtype_name
from spokeshave.compiler.operations import Expand, Permute, Take


def unchanged(context: Context, call: Call) -> Flow:
    """Copies, and conversions and expansions that change neither shape nor type."""
    source = call.get("self", call.get("input"))
    if call.get("train") or not isinstance(source, Flow):
        raise NotTypedError("dropout in training mode has no kernel")
    result = call.node.meta["val"]
    result = result[0] if isinstance(result, tuple | list) else result
    if dtype_name(result) != source.dtype:
        raise NotTypedError("conversions between element types have no kernel")
    if call.shape != source.shape:
        raise NotTypedError("repeating elements has no kernel")
    return source


def unchanged_first(context: Context, call: Call) -> tuple[Flow, None]:
    """Dropout's core operator also gives a mask."""
    return unchanged(context, call), None


def reshape(context: Context, call: Call) -> Flow:
    """The same elements under another shape."""
    source = call.flow("self")
    return context.result(call, source.name, source.dtype)


def expand(context: Context, call: Call) -> Flow:
    """Axes of length 1 repeated, and axes added in front."""
    source = call.flow("self")
    filled = (*(1 for _ in range(len(call.shape) - len(source.shape))), *source.shape)
    return repeated(context, call, source, filled)


def repeated(context: Context, call: Call, source: Flow, filled: tuple[int, ...]) -> Flow:
    """A value under a shape with as many axes as the result, repeated to the result's shape."""
    if filled == call.shape:
        return context.result(call, source.name, source.dtype)
    return Flow(spread(context, call, Flow(source.name, filled), call.shape), call.shape, source.dtype)


def spread(context: Context, call: Call, source: Flow, shape: tuple[int, ...]) -> str:
    """A value repeated to a shape, with the sample axis in front; axes that it lacks are added in front."""
    filled = (*(1 for _ in range(len(shape) - len(source.shape))), *source.shape)
    front = _front(shape)
    value = context.reshaped(call, source.name, (*front, *filled))
    if filled == shape:
        return value
    if context.values[value].dtype != "float32":
        raise NotTypedError(f"repeating {context.values[value].dtype} values has no kernel")
    return context.add(call, Expand(), (value,), (*front, *shape))


def repeat_interleave(context: Context, call: Call) -> Flow:
    """Every element of an axis several times, one behind the other."""
    source = call.flow("self")
    if call["dim"] is None:
        raise NotTypedError("repeating the elements of a flattened value has no kernel")
    axis = call["dim"] % len(source.shape)
    single = (*source.shape[: axis + 1], 1, *source.shape[axis + 1 :])
    repeats = call.shape[axis] // max(1, source.shape[axis])
    shape = (*source.shape[: axis + 1], repeats, *source.shape[axis + 1 :])
    value = spread(context, call, Flow(source.name, single), shape)
    return context.result(call, value, source.dtype)


def _front(shape: tuple[int, ...]) -> tuple[int, ...]:
    return () if shape[:1] == (1,) else (1,)


def permute(context: Context, call: Call) -> Flow:
    """Axes in another order. Where the first axis moves, the value gets one in front that stays."""
    source = call.flow("self")
    axes = _order(call, len(source.shape))
    if not axes:
        return source
    if context.values[source.name].dtype != "float32":
        raise NotTypedError(f"permutations of {source.dtype} values have no kernel")
    if axes[0] == 0 and not source.unbatched:
        value, order = source.name, axes
    else:
        value = context.reshaped(call, source.name, (1, *source.shape))
        order = (0, *(axis + 1 for axis in axes))
    before = context.values[value].shape
    output = context.add(call, Permute(order), (value,), [before[axis] for axis in order])
    return context.result(call, output, source.dtype)


def roll(context: Context, call: Call) -> Flow:
    """Axes turned round: the last elements come first."""
    source, axes = call.flow("self"), call["dims"]
    if not axes:
        raise NotTypedError("a roll of all elements as one row has no kernel")
    value = context.reshaped(call, source.name, (*_front(call.shape), *source.shape))
    for shift, axis in zip(call["shifts"], axes, strict=True):
        place = axis % len(source.shape) + len(_front(call.shape))
        size = context.values[value].shape[place]
        indices = context.constant(f"{call.node.name}.indices", (torch.arange(size) - shift) % size)
        value = context.add(call, Take(place, indices), (value,), context.values[value].shape)
    return context.result(call, value)


def index(context: Context, call: Call) -> Flow:
    """Elements at constant places, where these are all elements in order, or along one axis."""
    source, places = call.flow("self"), call["indices"]
    if any(isinstance(place, Flow) for place in places):
        raise NotTypedError("elements at computed places have no kernel")
    if context.values[source.name].dtype != "float32":
        raise NotTypedError(f"elements of {source.dtype} values have no kernel")
    tensors = [None if place is None else place.tensor for place in places]
    numbers = torch.arange(prod(source.shape)).reshape(source.shape)
    if torch.equal(torch.ops.aten.index(numbers, tensors).reshape(-1), numbers.reshape(-1)):
        return context.result(call, source.name, source.dtype)
    chosen = [axis for axis, place in enumerate(places) if place is not None]
    if (
        len(chosen) > 1
        or places[chosen[0]].tensor.dim() != 1
        or places[chosen[0]].tensor.dtype != torch.int64
    ):
        raise NotTypedError("elements at such places have no kernel")
    return _taken(context, call, source, chosen[0], places[chosen[0]].tensor)


def index_select(context: Context, call: Call) -> Flow:
    """Elements of one axis at constant places."""
    source, places = call.flow("self"), call["index"]
    if isinstance(places, Flow) or context.values[source.name].dtype != "float32":
        raise NotTypedError("elements at computed places have no kernel")
    return _taken(context, call, source, call["dim"] % len(source.shape), places.tensor.reshape(-1))


def _taken(context: Context, call: Call, source: Flow, axis: int, places: Tensor) -> Flow:
    front = (1,) if axis == 0 or source.unbatched else ()
    value = context.reshaped(call, source.name, (*front, *source.shape))
    indices = context.constant(f"{call.node.name}.indices", places.long() % source.shape[axis])
    shape = (*front, *source.shape[:axis], len(places), *source.shape[axis + 1 :])
    output = context.add(call, Take(axis + len(front), indices), (value,), shape)
    return context.result(call, output, source.dtype)


def _order(call: Call, rank: int) -> tuple[int, ...]:
    if call.operator == "permute":
        return tuple(axis % rank for axis in call["dims"])
    axes = list(range(rank))
    if rank > 1:
        first, second = call.get("dim0", 0) % rank, call.get("dim1", 1) % rank
        axes[first], axes[second] = axes[second], axes[first]
    return tuple(axes)


RESHAPES = (
    "flatten",
    "unflatten",
    "view",
    "reshape",
    "_unsafe_view",
    "view_copy",
    "_reshape_copy",
    "unsqueeze",
    "squeeze",
)
COPIES = (
    "clone",
    "contiguous",
    "alias",
    "detach",
    "lift_fresh",
    "lift_fresh_copy",
    "to",
    "_to_copy",
    "type_as",
)
DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")

MOVES = (
    *RESHAPES,
    "expand",
    "expand_as",
    "repeat_interleave",
    "permute",
    "transpose",
    "t",
    "swapaxes",
    "index",
    "index_select",
)

OPERATORS: dict[str, ImportFunction] = {
    **dict.fromkeys((*COPIES, *DROPOUTS), unchanged),
    "native_dropout": unchanged_first,
    **dict.fromkeys(RESHAPES, reshape),
    **dict.fromkeys(("expand", "expand_as"), expand),
    "repeat_interleave": repeat_interleave,
    "roll": roll,
    "index": index,
    "index_select": index_select,
    **dict.fromkeys(("permute", "transpose", "t", "swapaxes"), permute),
}
