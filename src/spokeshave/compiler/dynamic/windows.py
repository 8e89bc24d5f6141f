"""Constants that move with a length, as the positions of tokens behind those of the past: windows of one table.

    past 7, tokens 4: positions 7 8 9 10      past 6, tokens 4: positions 6 7 8 9      table: positions 1 ... 10

The table is the constant at a past of one element and as many tokens more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from spokeshave.compiler.count import Count
from spokeshave.compiler.dynamic.lengths import Length
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Binary, Constant
from spokeshave.errors import SpokeshaveError


@dataclass(frozen=True)
class Moving:
    """The constant of a node, by its place in the graph, that is another at another length."""

    place: int
    weight: str
    length: int


def with_windows(
    graph: Graph,
    moving: Sequence[Moving],
    smaller: Sequence[Graph],
    at: Callable[[tuple[int, ...]], Graph],
    lengths: Sequence[Length],
) -> Graph:
    """The graph whose moving constants are read from tables, each of them made a value once."""
    tables: dict[tuple[int, int], Graph] = {}
    windows: dict[str, Node] = {}
    values, weights, nodes = dict(graph.values), dict(graph.weights), list(graph.nodes)
    for entry in moving:
        node = graph.nodes[entry.place]
        if entry.weight not in windows:
            grows, axis = _growing(graph, smaller, entry, node, lengths)
            key = (entry.length, grows)
            tables[key] = tables.get(key) or at(_sizes(lengths, *key))
            table = _table(graph, smaller, tables[key], entry, axis, lengths)
            shape = _shape(graph.weights[entry.weight].shape, len(graph.shape(node.output)))
            axis += len(shape) - table.dim()
            name, start = (
                f"{entry.weight} window",
                Count.length(lengths[entry.length].greatest, entry.length),
            )
            size = Count.length(lengths[grows].greatest, grows)
            shape[axis] = size + (shape[axis] - int(size))
            values[name] = Value(name, tuple(shape))
            weights[f"{entry.weight} table"] = table.reshape(_shape(table.shape, len(shape)))
            windows[entry.weight] = Node(
                node.layer, Constant(f"{entry.weight} table", axis, start - 1), (), (name,)
            )
        nodes[entry.place] = _reading(node, windows[entry.weight].output)
    return replace(graph, nodes=(*windows.values(), *nodes), values=values, weights=weights)


def _reading(node: Node, window: str) -> Node:
    operation = node.operation
    assert isinstance(operation, Binary)
    (source,) = node.inputs
    inputs = (window, source) if operation.reverse else (source, window)
    return replace(node, operation=replace(operation, constant=None, reverse=False), inputs=inputs)


def _shape(shape: Sequence[int], rank: int) -> list[int]:
    """The shape with as many axes as a value has."""
    return [*(1 for _ in range(rank - len(shape))), *shape]


def _growing(
    graph: Graph, smaller: Sequence[Graph], entry: Moving, node: Node, lengths: Sequence[Length]
) -> tuple[int, int]:
    """The length along which the constant grows, and its axis."""
    whole = graph.weights[entry.weight].shape
    for index, other in enumerate(smaller):
        shape = other.weights[entry.weight].shape
        longer = [axis for axis in range(len(whole)) if whole[axis] == shape[axis] + 1]
        if index != entry.length and len(longer) == 1 and sum(whole) == sum(shape) + 1:
            return index, longer[0]
    raise SpokeshaveError(
        f"layer {node.layer!r} holds constants that move with the length {lengths[entry.length].name!r}; give the axis "
        "along which they lie, that of the tokens, a length of its own as well"
    )


def _sizes(lengths: Sequence[Length], moves: int, grows: int) -> tuple[int, ...]:
    """The shortest of what moves, and as much more of what grows."""
    sizes = [length.greatest for length in lengths]
    sizes[grows] += sizes[moves] - 1
    sizes[moves] = 1
    return tuple(sizes)


def _table(
    graph: Graph,
    smaller: Sequence[Graph],
    longest: Graph,
    entry: Moving,
    axis: int,
    lengths: Sequence[Length],
) -> Tensor:
    """The constant at all places; raises SpokeshaveError where those at hand are no windows of it."""
    node, most = graph.nodes[entry.place], lengths[entry.length].greatest
    table = longest.weights.get(entry.weight)
    same = table is not None and len(longest.nodes) == len(graph.nodes)
    for start, there in ((most - 1, graph), (most - 2, smaller[entry.length])):
        window = there.weights[entry.weight]
        size = window.shape[axis]
        fits = same and table is not None and start + size <= table.shape[axis]
        if table is None or not fits or not torch.equal(table.narrow(axis, start, size), window):
            raise SpokeshaveError(
                f"layer {node.layer!r} holds constants that change with the length, so its length cannot change"
            )
    assert table is not None
    return table
