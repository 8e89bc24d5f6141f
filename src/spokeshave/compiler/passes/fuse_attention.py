"""Attention that is written out as products and a softmax becomes one operation, whose scores stay in the cache.

    softmax(query @ key.T * scale + mask) @ value    =>    Attention

A mask is a sum of constants and values. Where a query sees nothing because the mask says -inf, zeros come out in place
of NaN; numbers that are merely very small hide nothing from a query that sees nothing else.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.masks import is_causal
from spokeshave.compiler.operations import Attention, Binary, Expand, MatMul, Permute, Reshape, Softmax
from spokeshave.compiler.passes.rewrite import Rewriting

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Scores:
    """A product of queries and keys on its way to the softmax: what it is scaled by, and what is added to that."""

    product: Node
    scale: float = 1.0
    polynomial: float | None = None
    constants: tuple[tuple[Tensor, Shape], ...] = ()  # each with the shape that scores have where it is added
    masks: tuple[str, ...] = ()


def fuse_attention(graph: Graph) -> Graph:
    """Replace every attention of one sample's windows, heads and tokens."""
    rewriting = Rewriting(graph)
    for node in graph.nodes:
        scores = _attended(rewriting, node) if isinstance(node.operation, MatMul) else None
        if scores is None or not _fits(rewriting, node, scores):
            rewriting.nodes.append(node)
        else:
            _append(rewriting, node, scores)
    return rewriting.finished()


def _attended(rewriting: Rewriting, node: Node) -> _Scores | None:
    """The scores whose softmax a product weighs its second operand with."""
    softmax = rewriting.maker(_unshaped(rewriting, node.inputs[0]), Softmax)
    if softmax is None:
        return None
    operation, rank = softmax.operation, len(rewriting.values[softmax.output].shape)
    assert isinstance(operation, Softmax)
    if operation.logarithm or operation.axis != rank - 1:
        return None
    scores = _scores(rewriting, softmax.inputs[0])
    return scores and replace(scores, polynomial=operation.polynomial)


def _scores(rewriting: Rewriting, name: str) -> _Scores | None:
    name = _unshaped(rewriting, name)
    product = rewriting.maker(name, MatMul)
    if product is not None:
        return _Scores(product)
    node = rewriting.maker(name, Binary)
    if node is None:
        return None
    assert isinstance(node.operation, Binary)
    return _summed(rewriting, node) if node.operation.kind == "add" else _scaled(rewriting, node)


def _scaled(rewriting: Rewriting, node: Node) -> _Scores | None:
    """Scores times or divided by one number, before anything is added."""
    operation = node.operation
    assert isinstance(operation, Binary)
    number = rewriting.weights[operation.constant] if operation.constant else None
    if number is None or number.numel() != 1 or operation.kind not in ("multiply", "divide"):
        return None
    if operation.kind == "divide" and operation.reverse:
        return None
    scores = _scores(rewriting, node.inputs[0])
    if scores is None or scores.constants or scores.masks:
        return None
    factor = float(number) if operation.kind == "multiply" else 1.0 / float(number)
    return replace(scores, scale=scores.scale * factor)


def _summed(rewriting: Rewriting, node: Node) -> _Scores | None:
    """Scores plus a constant or a value."""
    operation, shape = node.operation, rewriting.values[node.output].shape
    assert isinstance(operation, Binary)
    if operation.constant is not None:
        scores = _scores(rewriting, node.inputs[0])
        constant = (rewriting.weights[operation.constant], shape)
        return scores and replace(scores, constants=(*scores.constants, constant))
    for name, mask in (node.inputs, node.inputs[::-1]):
        scores = _scores(rewriting, name) if rewriting.values[name].shape == shape else None
        if scores is not None:
            return replace(scores, masks=(*scores.masks, _unrepeated(rewriting, mask)))
    return None


def _unshaped(rewriting: Rewriting, name: str) -> str:
    """The value before reshapes that leave the last axis whole."""
    maker = rewriting.maker(name, Reshape)
    while maker and rewriting.values[name].shape[-1] == rewriting.values[maker.inputs[0]].shape[-1]:
        name = maker.inputs[0]
        maker = rewriting.maker(name, Reshape)
    return name


def _unrepeated(rewriting: Rewriting, mask: str) -> str:
    maker = rewriting.maker(mask, Expand)
    return maker.inputs[0] if maker else mask


def _fits(rewriting: Rewriting, node: Node, scores: _Scores) -> bool:
    """Whether the operation can say it: up to windows and heads in front, value masks for all windows alike."""
    product = scores.product
    shape = rewriting.values[product.output].shape
    read = (*node.inputs[1:], *product.inputs)
    types = {rewriting.values[name].dtype for name in read}
    ranks = {len(rewriting.values[name].shape) for name in scores.masks}
    one_window = len(shape) < 5 or shape[1] == 1
    masks = not scores.masks or (one_window and max(ranks) <= 4)
    return (
        len(shape) <= 5 and rewriting.values[node.inputs[0]].shape == shape and types == {"float32"} and masks
    )


def _append(rewriting: Rewriting, node: Node, scores: _Scores) -> None:
    query, turned = scores.product.inputs
    shape = rewriting.values[query].shape
    windows, heads = (1, 1, *shape[1:-2])[-2:]
    queries = shape[-2]
    keys, shared = _unshared(rewriting, _swapped(rewriting, node, turned))
    values, shared_values = _unshared(rewriting, node.inputs[1])
    if shared != shared_values:
        keys, values, shared = _swapped(rewriting, node, turned), node.inputs[1], 1
    tokens = [_tokens(rewriting, node, name) for name in (query, keys, values)]
    mask, causal, added = _mask(rewriting, node, scores)
    operation = Attention(
        heads, heads // shared, scores.scale, windows, causal, mask, polynomial=scores.polynomial
    )
    width = rewriting.values[values].shape[-1]
    output = rewriting.add(node, operation, (*tokens, *added), (1, windows * queries, heads * width))
    split = rewriting.add(node, Reshape(), (output,), _between(shape, width))
    rewriting.nodes.append(Node(node.layer, Permute(_swap(len(shape), -3)), (split,), node.outputs))


def _between(shape: Shape, width: int) -> Shape:
    """The shape with tokens in front of heads."""
    if len(shape) == 3:
        return (1, shape[1], width)
    return (*shape[:-3], shape[-2], shape[-3], width)


def _swap(rank: int, first: int) -> tuple[int, ...]:
    """Two neighbouring axes in each other's place, counted from the end; the sample axis stays."""
    order = list(range(rank))
    if rank + first > 0:
        order[first], order[first + 1] = order[first + 1], order[first]
    return tuple(order)


def _swapped(rewriting: Rewriting, node: Node, turned: str) -> str:
    """Keys `[..., tokens, size]`, which the product reads the other way round."""
    shape = rewriting.values[turned].shape
    order = _swap(len(shape), -2)
    maker = rewriting.maker(turned, Permute)
    if maker and maker.operation == Permute(order):
        return maker.inputs[0]
    return rewriting.add(node, Permute(order), (turned,), [shape[axis] for axis in order])


def _unshared(rewriting: Rewriting, name: str) -> tuple[str, int]:
    """Keys or values before their heads were repeated for as many heads of queries as share them, and how many do."""
    shape = rewriting.values[name].shape
    merged = rewriting.maker(name, Reshape)
    repeated = rewriting.maker(merged.inputs[0], Expand) if merged else None
    if repeated is None or len(shape) != 4:
        return name, 1
    after = rewriting.values[repeated.output].shape
    before = rewriting.values[repeated.inputs[0]].shape
    if after != (1, before[1], shape[1] // before[1], *shape[2:]) or before != (1, before[1], 1, *shape[2:]):
        return name, 1
    single = rewriting.maker(repeated.inputs[0], Reshape)
    if single is None or rewriting.values[single.inputs[0]].shape != (1, before[1], *shape[2:]):
        return name, 1
    return single.inputs[0], after[2]


def _tokens(rewriting: Rewriting, node: Node, name: str) -> str:
    """Heads become ranges of channels of `[1, tokens, channels]`."""
    shape = rewriting.values[name].shape
    order = _swap(len(shape), -3)
    if order != tuple(range(len(shape))):
        name = rewriting.add(node, Permute(order), (name,), [shape[axis] for axis in order])
    windows, heads, tokens, size = (*(1 for _ in range(5 - len(shape))), *shape[1:])
    return rewriting.add(node, Reshape(), (name,), (1, windows * tokens, heads * size))


def _mask(rewriting: Rewriting, node: Node, scores: _Scores) -> tuple[str | None, bool, tuple[str, ...]]:
    """A constant to add, whether it hides what comes later and no more, and a value to add."""
    constant = _constant(rewriting, scores)
    causal = constant.shape[-2] <= constant.shape[-1] and bool(constant.any()) and is_causal(constant)
    name = None
    if constant.any() and not causal:
        name = f"{node.output} mask"
        rewriting.weights[name] = _cut(constant)
    if not scores.masks:
        return name, causal, ()
    mask = _added(rewriting, node, scores.masks)
    if name is not None:
        shape = torch.broadcast_shapes(rewriting.values[mask].shape, rewriting.weights[name].shape)
        mask = rewriting.add(node, Binary("add", name), (mask,), shape)
    return None, causal, (mask,)


def _added(rewriting: Rewriting, node: Node, masks: tuple[str, ...]) -> str:
    first, *others = masks
    for other in others:
        shape = torch.broadcast_shapes(*(rewriting.values[name].shape for name in (first, other)))
        first = rewriting.add(node, Binary("add"), (first, other), shape)
    return first


def _constant(rewriting: Rewriting, scores: _Scores) -> Tensor:
    """The sum of the constants as `[windows, heads, queries, keys]`."""
    shape = rewriting.values[scores.product.output].shape
    total = torch.zeros(shape)
    for tensor, there in scores.constants:
        total = total + tensor.expand(there).reshape(shape)
    return total.reshape(*(1 for _ in range(5 - len(shape))), *shape[1:])


def _cut(mask: Tensor) -> Tensor:
    """Axes along which a mask is the same everywhere cut to one."""
    for axis in range(mask.dim()):
        first = mask.narrow(axis, 0, 1)
        mask = first if torch.equal(first.expand_as(mask), mask) else mask
    return mask.contiguous()
