"""Imports comparisons, truth values, and what is chosen by them: 0 and 1 as float32 inside a graph."""

from math import prod
from typing import Any

import torch

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError, Weight
from spokeshave.compiler.importer.shapes import repeated, unchanged
from spokeshave.compiler.operations import Binary, BinaryKind, Embedding, Where

EXACT = 2**24  # whole numbers below are float32 numbers, and all others stay on their side of these

COMPARISONS: dict[str, BinaryKind] = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}


def compare(context: Context, call: Call) -> Flow:
    """A value beside a number."""
    source, other = call.flow("self"), call["other"]
    number = float(other.tensor) if isinstance(other, Weight) and other.tensor.numel() == 1 else other
    if not isinstance(number, int | float) or (source.dtype != "float32" and abs(number) >= EXACT):
        raise NotTypedError("comparing two values has no kernel")
    constant = context.constant(f"{call.node.name}.constant", torch.tensor(float(number)))
    value = context.number(call, source)
    operation = Binary(COMPARISONS[call.operator], constant)
    return context.result(call, context.add(call, operation, (value,), context.values[value].shape), "bool")


def both(context: Context, call: Call) -> Flow:
    """Logical and of two values, or of a value and a constant."""
    first, second = call["self"], call["other"]
    if isinstance(first, Flow) and isinstance(second, Flow):
        if first.shape != second.shape:
            raise NotTypedError("truth values of different shapes have no kernel")
        pair = (context.truth(call, first), context.truth(call, second))
        return context.result(call, context.add(call, Binary("multiply"), pair, first.value_shape), "bool")
    flow, constant = (first, second) if isinstance(first, Flow) else (second, first)
    truth = Flow(context.truth(call, flow), flow.shape, "bool")
    spread = repeated(context, call, truth, _filled(flow.shape, call.shape))
    if bool(constant.tensor.bool().all()):
        return spread
    numbers = context.constant(f"{call.node.name}.constant", constant.tensor.bool().float())
    output = context.add(call, Binary("multiply", numbers), (spread.name,), spread.value_shape)
    return context.result(call, output, "bool")


def _filled(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    return (*(1 for _ in range(len(wanted) - len(shape))), *shape)


def opposite(context: Context, call: Call) -> Flow:
    """Logical not."""
    truth = context.truth(call, call.flow("self"))
    one = context.constant(f"{call.node.name}.constant", torch.tensor(1.0))
    output = context.add(call, Binary("subtract", one, reverse=True), (truth,), context.values[truth].shape)
    return context.result(call, output, "bool")


def where(context: Context, call: Call) -> Flow:
    """One of two numbers, by a truth value."""
    condition, yes, no = call.flow("condition"), call["self"], call["other"]
    return _chosen(context, call, condition, _number(yes), _number(no))


def masked_fill(context: Context, call: Call) -> Flow:
    """A number in place of the elements that a mask names."""
    source, mask, number = call["self"], call["mask"], _number(call["value"])
    if isinstance(source, Weight) and isinstance(mask, Flow):
        return _chosen(context, call, mask, number, _number(source))
    raise NotTypedError("a fill of computed elements has no kernel")


def _chosen(context: Context, call: Call, condition: Flow, yes: float, no: float) -> Flow:
    """Numbers are chosen before a mask is repeated, not for every copy of it."""
    small = context.unexpanded(condition.name)
    if len(context.values[small].shape) > len(call.shape):
        small = condition.name
    shape = context.values[small].shape
    truth = context.truth(call, Flow(small, shape, condition.dtype))
    names = [
        context.constant(f"{call.node.name}.{kind}", torch.tensor(number))
        for kind, number in (("yes", yes), ("no", no))
    ]
    chosen = Flow(context.add(call, Where(*names), (truth,), shape), shape)
    return repeated(context, call, chosen, _filled(chosen.shape, call.shape))


def _number(operand: Any) -> float:
    if isinstance(operand, Weight) and operand.tensor.numel() == 1:
        return float(operand.tensor)
    if isinstance(operand, int | float):
        return float(operand)
    raise NotTypedError("choosing between tensors has no kernel")


def copy(context: Context, call: Call) -> Flow:
    """Copies; whole numbers and truth values become float32 where they are asked for."""
    source, wanted = call.get("self"), call.node.meta["val"].dtype
    if not isinstance(source, Flow) or wanted == getattr(torch, source.dtype):
        return unchanged(context, call)
    if wanted == torch.bool:
        return context.result(call, _nonzero(context, call, source), "bool")
    if wanted == torch.float32 and source.dtype in ("int64", "bool"):
        return context.result(call, context.number(call, source))
    raise NotTypedError(f"conversions from {source.dtype} have no kernel")


def _nonzero(context: Context, call: Call, source: Flow) -> str:
    if source.dtype != "float32":
        return context.truth(call, source)
    zero = context.constant(f"{call.node.name}.zero", torch.tensor(0.0))
    return context.add(call, Binary("not_equal", zero), (source.name,), source.value_shape)


def embedding(context: Context, call: Call) -> Flow:
    """Rows of a table by number."""
    table, numbers = call.weight("weight"), call.flow("indices")
    if context.values[numbers.name].dtype != "int64":
        raise NotTypedError(f"rows named by {numbers.dtype} numbers have no kernel")
    row = context.reshaped(call, numbers.name, (1, prod(numbers.shape)))
    shape = (1, prod(numbers.shape), table.tensor.shape[1])
    return context.result(call, context.add(call, Embedding(table.name), (row,), shape))


OPERATORS: dict[str, ImportFunction] = {
    **dict.fromkeys(COMPARISONS, compare),
    **dict.fromkeys(("__and__", "bitwise_and", "logical_and"), both),
    **dict.fromkeys(("bitwise_not", "logical_not"), opposite),
    "where": where,
    "masked_fill": masked_fill,
    **dict.fromkeys(("to", "_to_copy"), copy),
    "embedding": embedding,
}
