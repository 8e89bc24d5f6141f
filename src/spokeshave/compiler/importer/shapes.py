"""Imports what changes no element: copies, reshapes, permutations."""

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError, dtype_name
from spokeshave.compiler.operations import Permute


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
    return context.result(call, call.flow("self").name)


def expand(context: Context, call: Call) -> Flow:
    """An expansion that only adds axes of length 1 in front."""
    source = call.flow("self")
    if source.shape != call.shape[len(call.shape) - len(source.shape) :] or set(
        call.shape[: -len(source.shape)]
    ) - {1}:
        raise NotTypedError("repeating elements has no kernel")
    return context.result(call, source.name)


def permute(context: Context, call: Call) -> Flow:
    """Axes in another order. Where the first axis moves, the value gets one in front that stays."""
    source = call.flow("self")
    axes = _order(call, len(source.shape))
    if not axes:
        return source
    if axes[0] == 0 and not source.unbatched:
        value, order = source.name, axes
    else:
        value = context.reshaped(call, source.name, (1, *source.shape))
        order = (0, *(axis + 1 for axis in axes))
    before = context.values[value].shape
    output = context.add(call, Permute(order), (value,), [before[axis] for axis in order])
    return context.result(call, output)


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

OPERATORS: dict[str, ImportFunction] = {
    **dict.fromkeys((*COPIES, *DROPOUTS), unchanged),
    "native_dropout": unchanged_first,
    **dict.fromkeys(RESHAPES, reshape),
    "expand": expand,
    **dict.fromkeys(("permute", "transpose", "t", "swapaxes"), permute),
}
