"""Lowers what reads by number: rows of tables, elements at constant places, choices, repetitions."""

from dataclasses import replace

import numpy as np

from spokeshave.compiler.emit.layouts import layer_of
from spokeshave.compiler.emit.lowering import Lowering, axes
from spokeshave.compiler.emit.program import Argument
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.kernels.activations import float_literal
from spokeshave.compiler.layout import Flat, Layout, Planes
from spokeshave.compiler.operations import Constant, Convert, Embedding, Linear, SelectTokens, Take, Where


def lower_select_tokens(lowering: Lowering, node: Node) -> None:
    """One call, which says how many tokens there are from there on."""
    operation = node.operation
    assert isinstance(operation, SelectTokens)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.outputs[0])
    assert isinstance(read, Planes)
    assert isinstance(written, Planes)
    count = -1 if operation.count is None else operation.count
    numbers = (float_literal(operation.threshold), count, operation.leading, operation.packages)
    selection = f"(selection){{{', '.join(map(str, numbers))}, {operation.rest.upper()}}}"
    source, scores, output, counted = (lowering.place(name) for name in (*node.inputs, *node.outputs))
    length = 0 if operation.length is None else f"length + {operation.length}"
    planes = (source, read.plane, scores, output, written.plane, counted)
    lowering.call("select_tokens", *planes, read.width, read.channels, selection, length)


def lower_take(lowering: Lowering, node: Node) -> None:
    """The axis that is taken from goes innermost."""
    operation = node.operation
    assert isinstance(operation, Take)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    axis = operation.axis - 1
    places = lowering.graph.weights[operation.indices].numpy().astype(np.int32)
    rows = list(zip(written.shape, read.strides, written.strides, strict=True))
    taken, *others = rows[axis], *rows[:axis], *rows[axis + 1 :]
    others = [(1, 0, 0)] * (3 - len(others)) + others
    numbers = tuple(number for row in (taken, *others) for number in row)
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    lowering.call("take", source, output, lowering.constant(places), *numbers)


def lower_expand(lowering: Lowering, node: Node) -> None:
    """A copy that does not move along repeated axes."""
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    strides = tuple(stride if size > 1 else 0 for size, stride in zip(read.shape, read.strides, strict=True))
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    lowering.copy(source, strides, output, written.strides, written.shape)


def lower_constant(lowering: Lowering, node: Node) -> None:
    """A copy of the row-major weight, or of a window of it; nothing where it lies as those that add it read it."""
    operation = node.operation
    assert isinstance(operation, Constant)
    written, array = lowering.layout(node.output), lowering.weight(operation.weight)
    if isinstance(written, Planes) and written.tokens and _is_only_added(lowering.graph, node):
        planes = np.zeros((int(written.channels) + 1, int(written.plane)), np.float32)
        planes[:-1, : int(written.width)] = array.reshape(-1, written.channels).T
        lowering.added[node.output] = lowering.constant(planes)
        return
    weight, strides = lowering.constant(array), Flat(written.shape).strides
    if operation.start is not None:
        strides = Flat(array.shape[1:]).strides
        weight = replace(weight, offset=operation.start * strides[operation.axis - 1])
    lowering.copy(weight, strides, lowering.place(node.output), written.strides, written.shape)


def _is_only_added(graph: Graph, node: Node) -> bool:
    """Whether a whole constant has no reader but layers whose residual it is."""
    layers = all(
        isinstance(layer_of(reader), Linear) and reader.inputs[0] != node.output
        for reader in graph.readers(node.output)
    )
    return (
        isinstance(node.operation, Constant)
        and node.operation.start is None
        and layers
        and node.output not in graph.outputs
    )


def lower_embedding(lowering: Lowering, node: Node) -> None:
    """Rows of the table go to lanes; a number outside it is noted."""
    operation = node.operation
    assert isinstance(operation, Embedding)
    table, written = lowering.weight(operation.weight), lowering.layout(node.output)
    tokens = written.shape[0] if len(written.shape) == 2 else 1
    plane, following = (written.plane, 1) if isinstance(written, Planes) else (1, written.strides[0])
    numbers, output = lowering.ports[node.inputs[0]], lowering.place(node.output)
    sizes = (table.shape[1], plane, following, tokens, lowering.step, "r->fault")
    lowering.call("embed", numbers, lowering.constant(table), table.shape[0], output, *sizes)


def lower_convert(lowering: Lowering, node: Node) -> None:
    """From the caller's numbers to the value's layout."""
    operation = node.operation
    assert isinstance(operation, Convert)
    written = lowering.layout(node.output)
    numbers = axes(written.shape, Flat(written.shape).strides, written.strides)
    source, output = lowering.ports[node.inputs[0]], lowering.place(node.output)
    lowering.call("convert", source, output, int(operation.truth), *numbers)


def lower_where(lowering: Lowering, node: Node) -> None:
    """Constants that are one number are read over and over."""
    operation = node.operation
    assert isinstance(operation, Where)
    layout, given = lowering.layout(node.output), iter(node.inputs[1:])
    operands: list[Argument] = []
    for constant in (operation.yes, operation.no):
        operands += _operand(lowering, layout, constant or next(given), constant is not None)
    condition, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    lowering.call("where", condition, *operands, output, *lowering.extent(layout))


def _operand(lowering: Lowering, layout: Layout, name: str, constant: bool) -> tuple[Argument, int]:
    plane = layout.plane if isinstance(layout, Planes) else 0
    if not constant:
        return lowering.place(name), plane
    lanes = lowering.extent(layout)[2]
    assert isinstance(lanes, int)
    return lowering.constant(np.full(lanes, lowering.weight(name).reshape(()), np.float32)), 0


def where_reason(graph: Graph, node: Node) -> str | None:
    """Numbers, or values of one shape."""
    operation = node.operation
    assert isinstance(operation, Where)
    constants = [graph.weights[name] for name in (operation.yes, operation.no) if name]
    if any(tensor.numel() > 1 for tensor in constants):
        return "choosing between constant tensors has no kernel"
    shapes = {graph.shape(name) for name in (*node.inputs, node.output)}
    return None if len(shapes) == 1 else "choosing between values of different shapes has no kernel"


def integer_reason(graph: Graph, node: Node) -> str | None:
    """Whole numbers reach operations under other shapes, but are never written again."""
    if graph.values[node.output].dtype == "float32":
        return None
    typed = all(isinstance(reader.operation, Embedding | Convert) for reader in graph.readers(node.output))
    return None if typed and node.output not in graph.outputs else "whole numbers are not compiled"
