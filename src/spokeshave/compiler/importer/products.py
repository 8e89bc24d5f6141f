"""Imports products whose matrices are values, or are chosen by values."""

from typing import Any

import torch

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError, Selected, Weight
from spokeshave.compiler.importer.shapes import index, spread
from spokeshave.compiler.operations import MatMul, SelectedLinear


def batched(context: Context, call: Call) -> Flow:
    """Matrices times matrices; where one of them is chosen from a weight by number, tokens times these."""
    first, second = call["self"], call["mat2"]
    if isinstance(first, Selected):
        return _selected(context, call, first, second)
    return matrices(context, call, first, second)


def matrices(context: Context, call: Call, first: Any, second: Any) -> Flow:
    """A product of two values, or of a value and a constant, over their last two axes; the axes in front broadcast."""
    if call.operator == "addmm":
        raise NotTypedError("an addmm of two values has no kernel")
    operands = [context.flow(call, operand) for operand in (first, second)]
    if any(len(operand.shape) < 2 for operand in operands):
        raise NotTypedError("a product with a value of one axis has no kernel")
    front = call.shape[:-2]
    values = [spread(context, call, operand, (*front, *operand.shape[-2:])) for operand in operands]
    values = [_ranked(context, call, value) for value in values]
    shape = (*context.values[values[0]].shape[:-1], context.values[values[1]].shape[-1])
    return context.result(call, context.add(call, MatMul(), values, shape))


def _ranked(context: Context, call: Call, value: str) -> str:
    """Matrices with the sample axis in front."""
    shape = context.values[value].shape
    return context.reshaped(call, value, (1, *shape) if len(shape) == 2 else shape)


def _selected(context: Context, call: Call, chosen: Selected, tokens: Any) -> Flow:
    """`(T, O, I) @ (T, I, 1)`: every token has a matrix of its own."""
    count, width = tokens.shape[0], tokens.shape[1]
    read = context.reshaped(call, context.flow(call, tokens).name, (1, count, width))
    numbers = context.reshaped(call, chosen.numbers.name, (1, count))
    operation = SelectedLinear(chosen.weight.name)
    output = context.add(call, operation, (read, numbers), (1, count, call.shape[1]))
    return context.result(call, output)


def indexed(context: Context, call: Call) -> Flow | Selected:
    """Elements of a value at constant places, or matrices of a weight at computed ones."""
    source, places = call["self"], call["indices"]
    if isinstance(source, Weight) and len(places) == 1 and isinstance(places[0], Flow):
        return _chosen(call, source, places[0])
    return index(context, call)


def _chosen(call: Call, source: Weight, numbers: Flow) -> Selected:
    """Matrices by number, where all that reads them are products with one vector each."""
    for user in call.node.users:
        product = user.target is torch.ops.aten.bmm.default
        vectors = list(user.args[1].meta["val"].shape) if product else []  # type: ignore[union-attr]
        if user.args[0] is not call.node or len(vectors) != 3 or vectors[2] != 1:
            raise NotTypedError("matrices chosen by value have a kernel only where each meets one vector")
    if source.tensor.dtype != torch.float32 or source.tensor.dim() != 3 or len(numbers.shape) != 1:
        raise NotTypedError("weights chosen by value have a kernel only where they are float32 matrices")
    return Selected(source, numbers)


OPERATORS: dict[str, ImportFunction] = {"bmm": batched, "index": indexed}
