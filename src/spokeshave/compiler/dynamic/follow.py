"""Which sizes follow the caller's lengths: a network imported at several lengths tells, without a rule for operations.

Between the greatest lengths and one element less of one length, what differs depends on that length: sizes as
`scale * length + offset`, constants by leaving out what lies behind, or by moving over a table (`windows.py`). At two
elements less of all of them the sizes must be as foretold. A network is refused where anything else differs, or where
an operation has no form for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spokeshave.compiler.dynamic.extent import Extent, counted
from spokeshave.compiler.dynamic.forms import check_form
from spokeshave.compiler.dynamic.lengths import Length
from spokeshave.compiler.dynamic.windows import Moving, with_windows
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Binary, Slice
from spokeshave.compiler.passes.eliminate_dead import weight_names
from spokeshave.errors import SpokeshaveError

At = Callable[[tuple[int, ...]], Graph]  # the graph at some lengths


@dataclass(frozen=True)
class _Compared:
    """A graph at the greatest lengths, and at less of each."""

    graph: Graph
    smaller: tuple[Graph, ...]  # by length: one element less of it
    smallest: Graph  # two elements less of all


def follow_lengths(at: At, lengths: Sequence[Length]) -> tuple[Graph, tuple[Extent, ...]]:
    """The graph with every size that follows a length as a `Count`, and the extents of its inputs and outputs.

    Raises SpokeshaveError where sizes are not all that changes.
    """
    most = tuple(length.greatest for length in lengths)
    graph, *smaller, smallest = (at(sizes) for sizes in compared_lengths(most))
    compared = _Compared(graph, tuple(smaller), smallest)
    moving = [entry for index in range(len(most)) for entry in _compare(compared, index)]
    extents = _extents(compared, most)
    values = dict(graph.values)
    for extent in extents:
        shape = list(values[extent.value].shape)
        shape[extent.axis] = counted(extent, most)
        values[extent.value] = replace(values[extent.value], shape=tuple(shape))
    marked = with_windows(replace(graph, values=values), moving, compared.smaller, at, lengths)
    for node in marked.nodes:
        check_form(marked, node)
    outside = {*graph.inputs, *graph.outputs}
    return marked, tuple(extent for extent in extents if extent.value in outside)


def compared_lengths(most: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The lengths at which a network is imported: the greatest, one less of each, two less of all.

    >>> compared_lengths((8, 5))
    ((8, 5), (7, 5), (8, 4), (6, 3))
    """
    less = (tuple(size - (i == j) for j, size in enumerate(most)) for i in range(len(most)))
    return (most, *less, tuple(size - 2 for size in most))


def _compare(compared: _Compared, index: int) -> list[Moving]:
    """Check that a length changes sizes and constants only; returns the constants that move with it."""
    graph, smaller = compared.graph, compared.smaller[index]
    moving = []
    for shorter in (smaller, compared.smallest):
        if not same_work(graph, shorter):
            raise SpokeshaveError("the network does other work at another length")
    for place, (node, other) in enumerate(zip(graph.nodes, smaller.nodes, strict=True)):
        if _plain(node, graph) != _plain(other, smaller):
            raise SpokeshaveError(
                f"layer {node.layer!r} does other work at another length, so its length cannot change"
            )
        moving += _moving(graph, smaller, node, place, index)
    return moving


def _plain(node: Node, graph: Graph) -> Node:
    """The node without its layer's name; a slice to the end of its axis without the place where that is."""
    operation = node.operation
    if isinstance(operation, Slice) and operation.stop == graph.shape(node.inputs[0])[operation.axis]:
        operation = replace(operation, stop=-1)
    return replace(node, layer="", operation=operation)


def same_work(graph: Graph, other: Graph) -> bool:
    """Whether two graphs have operations of the same kinds on the same values."""
    return [(type(node.operation), node.inputs, node.outputs) for node in graph.nodes] == [
        (type(node.operation), node.inputs, node.outputs) for node in other.nodes
    ]


def _moving(graph: Graph, smaller: Graph, node: Node, place: int, index: int) -> list[Moving]:
    found = []
    for name in weight_names(node, graph):
        small, large = smaller.weights[name], graph.weights[name]
        if is_prefix(small, large):
            continue
        if not isinstance(node.operation, Binary) or small.shape != large.shape:
            raise SpokeshaveError(
                f"layer {node.layer!r} holds constants that change with the length, so its length cannot change"
            )
        found.append(Moving(place, name, index))
    return found


def is_prefix(small: Tensor, large: Tensor) -> bool:
    """Whether a tensor is what another one begins with along every axis."""
    if small is large or small.dim() != large.dim():
        return small is large
    for axis, size in enumerate(small.shape):
        large = large.narrow(axis, 0, min(size, large.shape[axis]))
    return small.shape == large.shape and torch.equal(small, large)


def _extents(compared: _Compared, most: tuple[int, ...]) -> tuple[Extent, ...]:
    found = []
    for name, value in compared.graph.values.items():
        shapes = [graph.shape(name) for graph in compared.smaller]
        for axis, size in enumerate(value.shape):
            scales = tuple(size - shape[axis] for shape in shapes)
            extent = Extent(name, axis, scales, size - sum(s * m for s, m in zip(scales, most, strict=True)))
            if extent.size([length - 2 for length in most]) != compared.smallest.shape(name)[axis]:
                raise SpokeshaveError(f"the size of {name!r} is no sum of the lengths, so they cannot change")
            found += [extent] if any(scales) else []
    return tuple(found)
