"""Lowers what only moves elements: every one of them is strided copies."""

from collections.abc import Mapping
from dataclasses import replace

from spokeshave.compiler.emit.lowering import MOST_AXES, Lowering, axes
from spokeshave.compiler.emit.program import Place, Port
from spokeshave.compiler.emit.tokens import integer_reason
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.layout import Flat, Layout, Planes
from spokeshave.compiler.operations import (
    Concatenate,
    Interleave,
    Pad,
    Patches,
    Permute,
    Quantize,
    Reshape,
    Slice,
)

LEAST_WIDTH = 8  # of maps that become integers row by row: narrower ones take longer than a copy of the map


def lower_input(lowering: Lowering, value: str, index: int) -> None:
    """From the caller's row-major floats into the value's layout."""
    layout = lowering.layout(value)
    given = Flat(layout.shape)
    lowering.copy(Port("in", index), given.strides, lowering.place(value), layout.strides, layout.shape)


def lower_output(lowering: Lowering, value: str, index: int) -> None:
    """From the value's layout into the caller's row-major floats."""
    layout = lowering.layout(value)
    wanted = Flat(layout.shape)
    lowering.copy(lowering.place(value), layout.strides, Port("out", index), wanted.strides, layout.shape)


def lower_reshape(lowering: Lowering, node: Node) -> None:
    """Through row-major order; a side that is row-major already needs no copy of its own.

    Whole numbers, which are only read where the caller has them, need none at all.
    """
    maker = lowering.graph.maker(node.inputs[0])
    if maker and isinstance(maker.operation, Permute) and _heads_are_joined(lowering.graph, maker):
        source, from_strides = _permuted(lowering, maker)
        shape = lowering.layout(maker.output).shape
        token, channel = lowering.layout(node.output).strides
        strides = (token, shape[2] * channel, channel)
        lowering.copy(source, from_strides, lowering.place(node.output), strides, shape)
        return
    if node.inputs[0] in lowering.ports:
        lowering.ports[node.output] = lowering.ports[node.inputs[0]]
        return
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    source, target = lowering.place(node.inputs[0]), lowering.place(node.output)
    if isinstance(read, Planes) and isinstance(written, Planes):
        between = lowering.temporary(Flat(read.shape))
        lowering.copy(source, read.strides, lowering.place(between), Flat(read.shape).strides, read.shape)
        source, read = lowering.place(between), Flat(read.shape)
    if isinstance(read, Flat):
        lowering.copy(source, Flat(written.shape).strides, target, written.strides, written.shape)
    else:
        lowering.copy(source, read.strides, target, Flat(read.shape).strides, read.shape)


def lower_permute(lowering: Lowering, node: Node) -> None:
    """One copy with the source's strides in the output's order; none where the reader makes it (`_joined_heads`)."""
    if _heads_are_joined(lowering.graph, node):
        return
    written, (source, strides) = lowering.layout(node.output), _permuted(lowering, node)
    lowering.copy(source, strides, lowering.place(node.output), written.strides, written.shape)


def _permuted(lowering: Lowering, node: Node) -> tuple[Place | Port, tuple[int, ...]]:
    """First element of what a permutation reads, and its strides in the order of what it makes."""
    operation = node.operation
    assert isinstance(operation, Permute)
    source, strides = _where(lowering, node.inputs[0])
    return source, tuple(strides[axis - 1] for axis in operation.axes[1:])


def _heads_are_joined(graph: Graph, node: Node) -> bool:
    """Whether the only reader of a permuted value `[1, T, heads, size]` is a reshape to `[1, T, heads * size]`."""
    shape, readers = graph.shape(node.output), graph.readers(node.output)
    if len(readers) != 1 or len(shape) != 4 or node.output in graph.outputs:
        return False
    joined = (*shape[:2], shape[2] * shape[3])
    return isinstance(readers[0].operation, Reshape) and graph.shape(readers[0].output) == joined


def lower_slice(lowering: Lowering, node: Node) -> None:
    """Neighbouring planes are read where they are; else one copy that starts at the slice's first element."""
    operation = node.operation
    assert isinstance(operation, Slice)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    axis = operation.axis - 1
    if operation.step == 1 and _are_planes_of(read, written):
        lowering.views[node.output] = _moved(
            lowering.place(node.inputs[0]), operation.start * read.strides[axis]
        )
        return
    strides = tuple(stride * (operation.step if i == axis else 1) for i, stride in enumerate(read.strides))
    source = _moved(lowering.place(node.inputs[0]), operation.start * read.strides[axis])
    lowering.copy(source, strides, lowering.place(node.output), written.strides, written.shape)


def _are_planes_of(read: Layout, written: Layout) -> bool:
    """Whether the slice differs in its number of planes alone."""
    if not isinstance(read, Planes) or not isinstance(written, Planes):
        return False
    return read.channels != written.channels and replace(read, channels=written.channels) == written


def lower_pad(lowering: Lowering, node: Node) -> None:
    """Fill with the constant, then copy the value into its place."""
    operation = node.operation
    assert isinstance(operation, Pad)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    output = lowering.place(node.output)
    lowering.call("fill", output, float(operation.value), *axes(written.shape, written.strides))
    start = sum(before * stride for before, stride in zip(operation.before[1:], written.strides, strict=True))
    lowering.copy(
        lowering.place(node.inputs[0]), read.strides, _moved(output, start), written.strides, read.shape
    )


def lower_interleave(lowering: Lowering, node: Node) -> None:
    """One call, row by row of the output."""
    operation = node.operation
    assert isinstance(operation, Interleave)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    channels, height, width = written.shape
    lowering.call(
        "interleave",
        lowering.place(node.inputs[0]),
        *read.strides[:2],
        lowering.place(node.output),
        *written.strides[:2],
        *(channels, operation.groups, operation.rows, operation.columns, height, width),
    )


def lower_patches(lowering: Lowering, node: Node) -> None:
    """One call; a map that nothing else reads is read where the caller has it."""
    operation, value = node.operation, node.inputs[0]
    assert isinstance(operation, Patches)
    written = lowering.layout(node.output)
    assert isinstance(written, Planes)
    _, channels, rows, columns = lowering.graph.shape(value)
    source, (plane, row, _) = _where(lowering, value)
    sizes = (operation.height, operation.width, rows // operation.height, columns // operation.width)
    output = lowering.place(node.output)
    lowering.call("patches", source, plane, row, output, written.plane, channels, *sizes, operation.before)


def stays_with_caller(graph: Graph, name: str, layouts: Mapping[str, Layout]) -> bool:
    """Whether an input is only cut into patches, joined to others or made integers of, which read it as the caller has
    it."""
    readers, layout = graph.readers(name), layouts[name]
    to_integers = isinstance(layout, Planes) and (layout.tokens or layout.width >= LEAST_WIDTH)
    reading = (Concatenate, Patches, *[Quantize] * to_integers)
    return (
        name not in graph.outputs
        and bool(readers)
        and all(isinstance(reader.operation, reading) for reader in readers)
    )


def made_for_caller(graph: Graph, name: str) -> bool:
    """Whether an output is joined of others and otherwise only permuted: it can lie where the caller wants it."""
    maker, once = graph.maker(name), graph.outputs.count(name) == 1
    joined = maker is not None and isinstance(maker.operation, Concatenate)
    return joined and once and all(isinstance(reader.operation, Permute) for reader in graph.readers(name))


def lower_concatenate(lowering: Lowering, node: Node) -> None:
    """One copy an input, from and to where the caller has them if nothing else needs them."""
    operation = node.operation
    assert isinstance(operation, Concatenate)
    output, strides = _where(lowering, node.output)
    axis, position = operation.axis - 1, 0
    for name in node.inputs:
        (source, from_strides), shape = _where(lowering, name), lowering.layout(name).shape
        target = replace(output, offset=output.offset + position * strides[axis])
        lowering.copy(source, from_strides, target, strides, shape)
        position += shape[axis]


def _where(lowering: Lowering, value: str) -> tuple[Place | Port, tuple[int, ...]]:
    """First element and strides of a value, which the caller may have: there it is row-major."""
    layout = lowering.layout(value)
    if value in lowering.ports:
        return lowering.ports[value], Flat(layout.shape).strides
    return lowering.place(value), layout.strides


def shape_reason(graph: Graph, node: Node) -> str | None:
    """Copies go over at most four axes."""
    ranks = [len(graph.shape(name)) - 1 for name in (*node.inputs, node.output)]
    return f"more than {MOST_AXES} axes have no copy kernel" if max(ranks) > MOST_AXES else None


def reshape_reason(graph: Graph, node: Node) -> str | None:
    """Whole numbers are only read."""
    return shape_reason(graph, node) or integer_reason(graph, node)


def _moved(place: Place, floats: int) -> Place:
    return Place(place.buffer, place.offset + floats)
