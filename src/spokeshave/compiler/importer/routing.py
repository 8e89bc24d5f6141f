"""Imports what chooses the largest elements."""

from math import prod

from spokeshave.compiler.graph import Node
from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError
from spokeshave.compiler.operations import TopK


def top_k(context: Context, call: Call) -> tuple[Flow, ...]:
    """The largest elements of the last axis, and their numbers, which are whole ones in float32."""
    source, count = call.flow("self"), call["k"]
    if call["dim"] % len(source.shape) != len(source.shape) - 1 or not call["largest"]:
        raise NotTypedError("the largest along another axis than the last, or the smallest, have no kernel")
    tokens = (1, prod(source.shape[:-1]), source.shape[-1])
    read = context.reshaped(call, source.name, tokens)
    made = tuple(context.declare(call.node.name, (*tokens[:2], count)) for _ in range(2))
    context.nodes.append(Node(call.layer, TopK(count), (read,), made))
    values, numbers = made
    return context.result(call, values), context.result(call, numbers, "int64")


OPERATORS: dict[str, ImportFunction] = {"topk": top_k}
