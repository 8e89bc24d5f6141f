"""Channels of a layer that no layer behind it reads are left out: a pruned layer often reads few of those before it.

    layer -> depthwise layers, pooling, activations -> layers that keep no weight for a channel    =>   without it

The layers behind it are gone through first, since what is left out of them may read less. A layer loses outputs only
where that takes work away: rows that shared their columns may come to share panels with others. It comes behind the
other passes, and behind the packing of planned weights, which are checked and packed whole.
"""

from collections.abc import Iterable
from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Activate, Convolution, Linear, Pool
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.schedule import panel_cycles

WORTH = 0.8  # of a layer's estimated work that may be left for its outputs to be left out
CHANNEL_CYCLES = 8.0  # to write a vector of a channel and to read it again, about

Layer = Convolution | Linear


def leave_out_unread(graph: Graph) -> Graph:
    """Every layer without the outputs that nothing reads."""
    made = [node.output for node in reversed(graph.nodes) if isinstance(node.operation, Layer)]
    for name in made:
        node = graph.maker(name)
        assert node is not None
        graph = _without_unread(graph, node)
    return eliminate_dead(graph)


def _without_unread(graph: Graph, node: Node) -> Graph:
    layer = node.operation
    assert isinstance(layer, Layer)
    values = _followed(graph, node)
    if layer.residual or not _mixes_channels(layer) or values is None:
        return graph
    behind = [reader for value in values for reader in graph.readers(value)]
    readers = [reader for reader in behind if _mixes_channels(reader.operation)]
    between = [
        reader for reader in behind if isinstance(reader.operation, Convolution) and reader not in readers
    ]
    read = torch.stack([_reads(graph, reader) for reader in readers]).any(0)
    read[0] |= not read.any()
    if read.all() or not _saves_work(graph, node, between, read):
        return graph
    weights = dict(graph.weights)
    changed = {id(one): _with_rows(one, read, weights) for one in (node, *between)}
    changed |= {id(reader): _with_columns(reader, read, weights) for reader in readers}
    nodes = tuple(changed.get(id(old), old) for old in graph.nodes)
    narrow = {name: _narrowed(graph.values[name], type(layer), int(read.sum())) for name in values}
    return replace(graph, nodes=nodes, values={**graph.values, **narrow}, weights=weights)


def _mixes_channels(operation: object) -> bool:
    """Whether it is a layer each of whose outputs may read every channel."""
    return isinstance(operation, Linear) or (isinstance(operation, Convolution) and operation.groups == 1)


def _followed(graph: Graph, node: Node) -> list[str] | None:
    """A layer's output and what is made of it channel by channel; None where others than layers of its kind read it."""
    values = [node.output]
    for value in values:  # it grows on the way
        readers = graph.readers(value)
        if value in graph.outputs or not readers or any(value in reader.inputs[1:] for reader in readers):
            return None
        for reader in readers:
            if _goes_by_channel(graph, reader):
                values.append(reader.output)
            elif not (
                isinstance(reader.operation, type(node.operation)) and _mixes_channels(reader.operation)
            ):
                return None
    return values


def _goes_by_channel(graph: Graph, node: Node) -> bool:
    operation = node.operation
    if isinstance(operation, Convolution):
        weight = graph.weights[operation.weight]
        return operation.groups == len(weight) > 1 and weight.shape[1] == 1 and not operation.residual
    return isinstance(operation, Pool | Activate)


def _reads(graph: Graph, reader: Node) -> Tensor:
    """Whether a layer keeps any weight for each channel that it reads."""
    assert isinstance(reader.operation, Layer)
    weight = graph.weights[reader.operation.weight]
    return (weight != 0).transpose(0, 1).flatten(1).any(1).cpu()


def _saves_work(graph: Graph, node: Node, between: Iterable[Node], read: Tensor) -> bool:
    """By estimate; `between` are depthwise layers that work on the same channels."""
    assert isinstance(node.operation, Layer)
    kept = (graph.weights[node.operation.weight] != 0).flatten(1).cpu()
    layers = [one.operation for one in between]
    taps = sum(prod(graph.weights[one.weight].shape[2:]) for one in layers if isinstance(one, Convolution))
    before, after = (
        panel_cycles(rows.numpy()) + len(rows) * (CHANNEL_CYCLES + taps) for rows in (kept, kept[read])
    )
    return after <= WORTH * before


def _with_rows(node: Node, read: Tensor, weights: dict[str, Tensor]) -> Node:
    layer = node.operation
    assert isinstance(layer, Layer)
    if isinstance(layer, Convolution) and layer.groups > 1:
        layer = replace(layer, groups=int(read.sum()))
    if layer.bias is not None:
        layer = replace(layer, bias=_cut(node, layer.bias, read, 0, weights))
    return replace(node, operation=replace(layer, weight=_cut(node, layer.weight, read, 0, weights)))


def _with_columns(node: Node, read: Tensor, weights: dict[str, Tensor]) -> Node:
    layer = node.operation
    assert isinstance(layer, Layer)
    return replace(node, operation=replace(layer, weight=_cut(node, layer.weight, read, 1, weights)))


def _cut(node: Node, name: str, read: Tensor, axis: int, weights: dict[str, Tensor]) -> str:
    """Adds a part of a weight under a name of this node's own, since others may read the whole."""
    part = f"{name}|{node.output}|{axis}"
    places = read.nonzero().flatten().to(weights[name].device)
    weights[part] = weights[name].index_select(axis, places)
    return part


def _narrowed(value: Value, kind: type, channels: int) -> Value:
    axis = 1 if kind is Convolution else len(value.shape) - 1
    return replace(value, shape=(*value.shape[:axis], channels, *value.shape[axis + 1 :]))
