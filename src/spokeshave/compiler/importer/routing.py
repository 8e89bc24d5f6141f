"""Imports what chooses: the largest elements, and the tokens that stay."""

from math import prod

from spokeshave.compiler.graph import Node
from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError
from spokeshave.compiler.operations import SelectTokens, TopK


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


def select_tokens(context: Context, call: Call) -> Flow:
    """Tokens by their scores; where these alone say how many, their number is a length of its own."""
    tokens, scores = call.flow("tokens"), context.flow(call, call["scores"])
    found = sum(
        isinstance(n.operation, SelectTokens) and n.operation.length is not None for n in context.nodes
    )
    length = found if call["count"] is None else None
    fields = ("name", "threshold", "count", "leading", "packages", "rest")
    operation = SelectTokens(**{field: call[field] for field in fields}, length=length)
    count = context.declare(f"{call.node.name}.count", (1, 1))
    output = context.declare(call.node.name, call.shape)
    context.nodes.append(Node(call.layer, operation, (tokens.name, scores.name), (output, count)))
    return Flow(output, call.shape)


OPERATORS: dict[str, ImportFunction] = {"topk": top_k, "select_tokens": select_tokens}
