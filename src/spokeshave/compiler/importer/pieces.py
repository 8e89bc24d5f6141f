"""Imports what cuts tensors and what joins them: slices, splits, concatenation, padding."""

from itertools import accumulate
from typing import Any

import torch

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError, Weight, with_sample_axis
from spokeshave.compiler.operations import Binary, Concatenate, Pad, Slice


def slice_axis(context: Context, call: Call) -> Flow:
    """Every so many elements of one axis."""
    source = call.flow("self")
    axis = call["dim"] % len(source.shape)
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(source.shape[axis])
    return _sliced(context, call, source, axis, (start, max(start, stop), step), call.shape)


def select(context: Context, call: Call) -> Flow:
    """One element of an axis, and the axis gone."""
    source = call.flow("self")
    axis = call["dim"] % len(source.shape)
    return selected(context, call, source, axis, call["index"] % source.shape[axis])


def unbind(context: Context, call: Call) -> tuple[Flow, ...]:
    """Every element of an axis on its own."""
    source = call.flow("self")
    axis = call["dim"] % len(source.shape)
    return tuple(selected(context, call, source, axis, index) for index in range(source.shape[axis]))


def split(context: Context, call: Call) -> tuple[Flow, ...]:
    """An axis cut in pieces, of sizes that are given or all of one size."""
    source = call.flow("self")
    axis = call["dim"] % len(source.shape)
    ends = list(accumulate(int(result.shape[axis]) for result in call.node.meta["val"]))
    pieces = zip([0, *ends], ends, strict=False)
    return tuple(_piece(context, call, source, axis, start, stop) for start, stop in pieces)


def selected(context: Context, call: Call, source: Flow, axis: int, index: int) -> Flow:
    """One element of an axis, as a tensor without that axis."""
    shape = (*source.shape[:axis], *source.shape[axis + 1 :])
    piece = _piece(context, call, source, axis, index, index + 1)
    return Flow(context.reshaped(call, piece.name, with_sample_axis(shape)), shape)


def _piece(context: Context, call: Call, source: Flow, axis: int, start: int, stop: int) -> Flow:
    shape = (*source.shape[:axis], stop - start, *source.shape[axis + 1 :])
    return _sliced(context, call, source, axis, (start, stop, 1), shape)


def _sliced(
    context: Context, call: Call, source: Flow, axis: int, cut: tuple[int, int, int], shape: tuple[int, ...]
) -> Flow:
    if shape == source.shape and cut[2] == 1:
        return source
    value = context.reshaped(call, source.name, (1, *source.shape)) if axis == 0 else source.name
    moved = axis + (1 if axis == 0 else int(source.unbatched))
    before = context.values[value].shape
    after = (*before[:moved], shape[axis], *before[moved + 1 :])
    output = context.add(call, Slice(moved, *cut), (value,), after)
    return Flow(context.reshaped(call, output, with_sample_axis(shape)), shape)


def concatenate(context: Context, call: Call) -> Flow:
    """Join values along one axis, of which empty ones add nothing; with constants beside the only value, pad it and
    add them."""
    operands = [operand for operand in call["tensors"] if not _is_empty(operand)]
    if any(isinstance(operand, Flow) and len(operand.shape) != len(call.shape) for operand in operands):
        raise NotTypedError("joining empty tensors has no kernel")
    axis = call["dim"] % len(call.shape)
    flows = [operand for operand in operands if isinstance(operand, Flow)]
    types = {operand.tensor.dtype for operand in operands if isinstance(operand, Weight)}
    if len(flows) == 1 and types == {torch.float32}:
        return _joined_with_constants(context, call, operands, axis)
    return _joined(context, call, [context.flow(call, operand) for operand in operands], axis)


def _is_empty(operand: Flow | Weight) -> bool:
    """Whether this is the tensor without elements and of one axis that may be joined to anything."""
    return isinstance(operand, Weight) and operand.tensor.shape == (0,)


def stack(context: Context, call: Call) -> Flow:
    """Join values along a new axis."""
    operands, axis = call["tensors"], call["dim"] % len(call.shape)
    operands = [context.flow(call, operand) for operand in operands]
    shape = (*call.shape[:axis], 1, *call.shape[axis + 1 :])
    slabs = [
        Flow(context.reshaped(call, operand.name, with_sample_axis(shape)), shape) for operand in operands
    ]
    return _joined(context, call, slabs, axis)


def _joined(context: Context, call: Call, operands: list[Flow], axis: int) -> Flow:
    """Where the first axis grows, every value gets one in front that stays."""
    if len(operands) == 1:
        return operands[0]
    front = _front(call.shape)
    values = [context.reshaped(call, operand.name, (*front, *operand.shape)) for operand in operands]
    output = context.add(call, Concatenate(axis + len(front)), values, (*front, *call.shape))
    return context.result(call, output)


def _front(shape: tuple[int, ...]) -> tuple[int, ...]:
    return () if shape[:1] == (1,) else (1,)


def _joined_with_constants(context: Context, call: Call, operands: list[Any], axis: int) -> Flow:
    """As a class token in front of an image's tokens: zeros where the constants go, then the sum with them."""
    position = next(index for index, operand in enumerate(operands) if isinstance(operand, Flow))
    flow = operands[position]
    parts = [
        operand.tensor if isinstance(operand, Weight) else torch.zeros(operand.shape) for operand in operands
    ]
    sizes = [part.shape[axis] for part in parts]
    before, after = [0] * len(call.shape), [0] * len(call.shape)
    before[axis], after[axis] = sum(sizes[:position]), sum(sizes[position + 1 :])
    padded = _padded(context, call, flow, before, after, 0.0)
    constant = context.constant(f"{call.node.name}.constant", torch.cat(parts, axis))
    return context.result(
        call, context.add(call, Binary("add", constant), (padded,), context.values[padded].shape)
    )


def _padded(
    context: Context, call: Call, source: Flow, before: list[int], after: list[int], value: float
) -> str:
    front = _front(call.shape)
    inner = context.reshaped(call, source.name, (*front, *source.shape))
    none = [0] * len(front)
    operation = Pad((*none, *before), (*none, *after), value)
    return context.add(call, operation, (inner,), (*front, *call.shape))


def pad(context: Context, call: Call) -> Flow:
    """Pad with a constant; PyTorch gives (before, after) from the last axis to the first."""
    if call.get("mode", "constant") != "constant":
        raise NotTypedError(f"padding by {call['mode']} has no kernel")
    source, widths = call.flow("self"), call["pad"]
    if not any(widths):
        return source
    if min(widths, default=0) < 0:
        raise NotTypedError("padding by negative widths has no kernel")
    unpadded = [0] * (len(source.shape) - len(widths) // 2)
    before, after = [*unpadded, *widths[-2::-2]], [*unpadded, *widths[::-2]]
    return context.result(call, _padded(context, call, source, before, after, float(call["value"] or 0)))


OPERATORS: dict[str, ImportFunction] = {
    "slice": slice_axis,
    "select": select,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), split),
    "unbind": unbind,
    "cat": concatenate,
    "stack": stack,
    **dict.fromkeys(("constant_pad_nd", "pad"), pad),
}
