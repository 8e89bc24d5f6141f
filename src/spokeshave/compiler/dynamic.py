"""Which axes follow the caller's length: a network imported at two lengths tells, without a rule for any operation.

What differs between the two graphs depends on the length: sizes as `scale * length + offset`, constants by leaving out
what lies behind. A network is refused where anything else differs, or where an operation has no form for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spokeshave.compiler.count import LENGTH, Count
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import (
    Activate,
    Attention,
    Binary,
    Concatenate,
    Convert,
    Embedding,
    Expand,
    LayerNorm,
    Linear,
    Mean,
    Permute,
    Reshape,
    Slice,
    Softmax,
    Take,
    Where,
)
from spokeshave.compiler.passes.eliminate_dead import weight_names
from spokeshave.errors import SpokeshaveError

Dynamic = Mapping[str | int, int]
Check = Callable[[Graph, Node], bool]
SHORTEST = 3  # a length that still tells an axis that follows it from one that is 1


@dataclass(frozen=True)
class Extent:
    """An axis of an input or output, `scale * length + offset` long."""

    value: str
    axis: int
    scale: int
    offset: int


def shorter(example: tuple[Tensor, ...], axes: Mapping[int, int]) -> tuple[Tensor, ...]:
    """The example one element shorter along the given axes, by input position."""
    return tuple(
        tensor.narrow(axes[position], 0, tensor.shape[axes[position]] - 1) if position in axes else tensor
        for position, tensor in enumerate(example)
    )


def dynamic_axes(graph: Graph, example: tuple[Tensor, ...], dynamic: Dynamic) -> dict[int, int]:
    """Axis by input position; raises SpokeshaveError for names, axes and lengths that cannot be meant."""
    axes = {}
    for key, axis in dynamic.items():
        position = graph.inputs.index(key) if key in graph.inputs else key
        if not isinstance(position, int) or not 0 <= position < len(example):
            raise SpokeshaveError(f"there is no input {key!r}; the inputs are {', '.join(graph.inputs)}")
        if not 0 < axis < example[position].dim():
            raise SpokeshaveError(f"input {key!r} has no axis {axis} whose length could change")
        axes[position] = axis
    lengths = {example[position].shape[axis] for position, axis in axes.items()}
    if len(lengths) > 1 or min(lengths) < SHORTEST:
        raise SpokeshaveError(
            f"the example's changing axes are {sorted(lengths)} long; they must have one length of at least {SHORTEST}"
        )
    return axes


def follow_length(graph: Graph, smaller: Graph, length: int) -> Graph:
    """The graph with every size that follows the length as a `Count`; raises SpokeshaveError where that is not all."""
    if len(graph.nodes) != len(smaller.nodes):
        raise SpokeshaveError("the network does other work at another length")
    for node, other in zip(graph.nodes, smaller.nodes, strict=True):
        _compare(graph, node, smaller, other)
    values = {name: _counted(value, smaller.values[name], length) for name, value in graph.values.items()}
    marked = replace(graph, values=values)
    for node in marked.nodes:
        _check(marked, node)
    return marked


def extents(graph: Graph, smaller: Graph, length: int) -> tuple[Extent, ...]:
    """The axes of inputs and outputs that follow the length, of the graph as it was before."""
    found: list[Extent] = []
    for name in dict.fromkeys((*graph.inputs, *graph.outputs)):
        if name in graph.values:
            found += _extents(graph.values[name], smaller.values[name], length)
    return tuple(found)


def _extents(value: Value, smaller: Value, length: int) -> list[Extent]:
    pairs = list(zip(value.shape, smaller.shape, strict=True))
    return [
        Extent(value.name, axis, more - less, more - (more - less) * length)
        for axis, (more, less) in enumerate(pairs)
        if more != less
    ]


def _compare(graph: Graph, node: Node, smaller: Graph, other: Node) -> None:
    if replace(node, layer="") != replace(other, layer=""):
        raise SpokeshaveError(
            f"layer {node.layer!r} does other work at another length, so its length cannot change"
        )
    for name in weight_names(node, graph):
        if not _is_prefix(smaller.weights[name], graph.weights[name]):
            raise SpokeshaveError(
                f"layer {node.layer!r} holds constants that change with the length, so its length cannot change"
            )


def _is_prefix(small: Tensor, large: Tensor) -> bool:
    if small is large or small.dim() != large.dim():
        return small is large
    for axis, size in enumerate(small.shape):
        large = large.narrow(axis, 0, min(size, large.shape[axis]))
    return small.shape == large.shape and torch.equal(small, large)


def _counted(value: Value, smaller: Value, length: int) -> Value:
    sizes = []
    for more, less in zip(value.shape, smaller.shape, strict=True):
        scale = more - less
        count = Count(length, LENGTH) * scale + (more - scale * length) if scale else more
        sizes.append(count)
    return replace(value, shape=tuple(sizes))


def _check(graph: Graph, node: Node) -> None:
    shapes = [graph.shape(name) for name in (*node.inputs, *node.outputs)]
    if not any(isinstance(size, Count) for shape in shapes for size in shape):
        return
    check = FORMS.get(type(node.operation))
    if check is None or not check(graph, node):
        kind = type(node.operation).__name__
        raise SpokeshaveError(f"layer {node.layer!r} ({kind}) has no form for a length that changes")


def _always(graph: Graph, node: Node) -> bool:
    return True


def _last_is_fixed(graph: Graph, node: Node) -> bool:
    shape = graph.shape(node.inputs[0])
    return len(shape) == 3 and not isinstance(shape[-1], Count)


def _first_only(graph: Graph, node: Node) -> bool:
    """A slice of a changing axis may only read what is always there."""
    operation = node.operation
    assert isinstance(operation, Slice)
    changes = isinstance(graph.shape(node.inputs[0])[operation.axis], Count)
    return not changes or operation.stop == 1


def _taken_is_fixed(graph: Graph, node: Node) -> bool:
    operation = node.operation
    assert isinstance(operation, Take)
    return not isinstance(graph.shape(node.inputs[0])[operation.axis], Count)


def _one_window(graph: Graph, node: Node) -> bool:
    assert isinstance(node.operation, Attention)
    return node.operation.windows == 1


FORMS: Mapping[type, Check] = {
    Activate: _always,
    Attention: _one_window,
    Binary: _always,
    Concatenate: _always,
    Convert: _always,
    Embedding: _always,
    Expand: _always,
    LayerNorm: _last_is_fixed,
    Linear: _last_is_fixed,
    Mean: _last_is_fixed,
    Permute: _always,
    Reshape: _always,
    Slice: _first_only,
    Softmax: _last_is_fixed,
    Take: _taken_is_fixed,
    Where: _always,
}
