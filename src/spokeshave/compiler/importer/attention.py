"""Imports attention: heads become ranges of channels of tokens, masks numbers to add to the scores."""

import torch

from spokeshave.compiler.importer.context import Call, Context, ImportFunction
from spokeshave.compiler.importer.operands import Flow, NotTypedError
from spokeshave.compiler.masks import additive_numbers, is_causal
from spokeshave.compiler.operations import Attention, Permute, Where


def scaled_dot_product(context: Context, call: Call) -> Flow:
    """Attention of `[windows, heads, tokens, size]`; a first axis that is not the samples' counts windows."""
    query, key, value = (call.flow(name) for name in ("query", "key", "value"))
    if any(len(flow.shape) != 4 for flow in (query, key, value)):
        raise NotTypedError("attention over other axes than samples, heads and tokens has no kernel")
    if len({flow.shape[0] for flow in (query, key, value)}) > 1 or call["dropout_p"]:
        raise NotTypedError("attention with dropout, or shared by windows, has no kernel")
    windows, heads, queries, size = query.shape
    scale = size**-0.5 if call["scale"] is None else float(call["scale"])
    constant, causal, masks = _mask(context, call, (windows, heads, queries, key.shape[2]))
    tokens = [_tokens(context, call, flow) for flow in (query, key, value)]
    operation = Attention(heads, key.shape[1], scale, windows, causal, constant)
    shape = (1, windows * queries, heads * value.shape[3])
    output = context.add(call, operation, (*tokens, *masks), shape)
    split = context.reshaped(call, output, _front((windows, queries, heads, value.shape[3])))
    return context.result(call, _swapped(context, call, split))


def _front(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if shape[0] == 1 else (1, *shape)


def _swapped(context: Context, call: Call, value: str) -> str:
    """Tokens and heads change places: the second and third axis from the end."""
    shape = context.values[value].shape
    order = list(range(len(shape)))
    order[-3], order[-2] = order[-2], order[-3]
    return context.add(call, Permute(tuple(order)), (value,), [shape[axis] for axis in order])


def _tokens(context: Context, call: Call, flow: Flow) -> str:
    windows, heads, tokens, size = flow.shape
    split = context.reshaped(call, flow.name, _front(flow.shape))
    return context.reshaped(call, _swapped(context, call, split), (1, windows * tokens, heads * size))


def _mask(context: Context, call: Call, shape: tuple[int, ...]) -> tuple[str | None, bool, tuple[str, ...]]:
    """A constant to add to the scores, whether it is causal, and the value to add."""
    given = call["attn_mask"]
    if isinstance(given, Flow):
        return None, False, (additive(context, call, given),)
    if given is None and not call["is_causal"]:
        return None, False, ()
    mask = torch.ones(shape[2:], dtype=torch.bool).tril() if given is None else given.tensor
    numbers = additive_numbers(mask)
    if not numbers.any():
        return None, False, ()
    if shape[2] <= shape[3] and is_causal(numbers):
        return None, True, ()
    return context.constant(f"{call.node.name}.mask", numbers), False, ()


def additive(context: Context, call: Call, mask: Flow) -> str:
    """A mask that depends on the input as numbers to add, the same value for all who ask."""
    name = context.unexpanded(mask.name)
    if mask.dtype == "float32":
        return name
    if name not in context.additive:
        truth = context.truth(call, Flow(name, context.values[name].shape, mask.dtype))
        yes, no = (context.constant(f"{name}.{kind}", torch.tensor(number)) for kind, number in NUMBERS)
        context.additive[name] = context.add(call, Where(yes, no), (truth,), context.values[truth].shape)
    return context.additive[name]


NUMBERS = (("seen", 0.0), ("hidden", -float("inf")))

OPERATORS: dict[str, ImportFunction] = {"scaled_dot_product_attention": scaled_dot_product}
