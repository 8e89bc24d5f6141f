"""Lowers what only moves elements: every one of them is strided copies."""

from dataclasses import replace

from spokeshave.compiler.emit.lowering import MOST_AXES, Lowering, axes
from spokeshave.compiler.emit.program import Place, Port
from spokeshave.compiler.emit.tokens import integer_reason
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.layout import Flat, Layout, Planes
from spokeshave.compiler.operations import Concatenate, Pad, Patches, Permute, Slice


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
    """One copy with the source's strides in the output's order."""
    operation = node.operation
    assert isinstance(operation, Permute)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    strides = tuple(read.strides[axis - 1] for axis in operation.axes[1:])
    lowering.copy(
        lowering.place(node.inputs[0]), strides, lowering.place(node.output), written.strides, written.shape
    )


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


def lower_patches(lowering: Lowering, node: Node) -> None:
    """One call; a map that nothing else reads is read where the caller has it."""
    operation, value = node.operation, node.inputs[0]
    assert isinstance(operation, Patches)
    read, written = lowering.layout(value), lowering.layout(node.output)
    assert isinstance(written, Planes)
    _, channels, rows, columns = lowering.graph.shape(value)
    source = lowering.ports[value] if value in lowering.ports else lowering.place(value)
    plane, row, _ = read.strides if isinstance(source, Place) else Flat((channels, rows, columns)).strides
    sizes = (operation.height, operation.width, rows // operation.height, columns // operation.width)
    output = lowering.place(node.output)
    lowering.call("patches", source, plane, row, output, written.plane, channels, *sizes, operation.before)


def stays_with_caller(graph: Graph, name: str) -> bool:
    """Whether an input is only cut into patches, which reads it as the caller has it."""
    readers = [node.operation for node in graph.nodes if name in node.inputs]
    return name not in graph.outputs and bool(readers) and all(isinstance(op, Patches) for op in readers)


def lower_concatenate(lowering: Lowering, node: Node) -> None:
    """One copy an input."""
    operation = node.operation
    assert isinstance(operation, Concatenate)
    written = lowering.layout(node.output)
    axis, position = operation.axis - 1, 0
    for name in node.inputs:
        read = lowering.layout(name)
        target = _moved(lowering.place(node.output), position * written.strides[axis])
        lowering.copy(lowering.place(name), read.strides, target, written.strides, read.shape)
        position += read.shape[axis]


def shape_reason(graph: Graph, node: Node) -> str | None:
    """Copies go over at most four axes."""
    ranks = [len(graph.shape(name)) - 1 for name in (*node.inputs, node.output)]
    return f"more than {MOST_AXES} axes have no copy kernel" if max(ranks) > MOST_AXES else None


def reshape_reason(graph: Graph, node: Node) -> str | None:
    """Whole numbers are only read."""
    return shape_reason(graph, node) or integer_reason(graph, node)


def _moved(place: Place, floats: int) -> Place:
    return Place(place.buffer, place.offset + floats)
