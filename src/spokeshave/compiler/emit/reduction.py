"""Lowers pooling, means, softmax and normalisation."""

import numpy as np

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Constant
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.layout import Flat, Planes
from spokeshave.compiler.operations import GroupNorm, LayerNorm, Mean, Pool, Softmax


def lower_pool(lowering: Lowering, node: Node) -> None:
    """Max or average pooling from planes to planes."""
    operation = node.operation
    assert isinstance(operation, Pool)
    read = lowering.layout(node.inputs[0])
    assert isinstance(read, Planes)
    geometry = ", ".join(str(number) for number in (*_sizes(lowering, node, read), *_windows(operation)))
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    if operation.kind == "max":
        lowering.call("max_pool", f"(pooling){{{geometry}}}", source, output)
    else:
        counted = int(operation.count_padding)
        lowering.call("average_pool", f"(pooling){{{geometry}}}", counted, source, output)


def _sizes(lowering: Lowering, node: Node, read: Planes) -> tuple[int, ...]:
    written = lowering.layout(node.output)
    _, _, height, width = lowering.graph.shape(node.output)
    plane, pitch = (written.plane, written.pitch) if isinstance(written, Planes) else (1, 1)
    return read.channels, read.height, read.width, read.plane, read.pitch, height, width, plane, pitch


def _windows(operation: Pool) -> tuple[int, ...]:
    return *operation.kernel, *operation.stride, *operation.padding, *operation.dilation


def pool_reason(graph: Graph, node: Node) -> str | None:
    """Pooling reads maps of more than one position."""
    shape = graph.shape(node.inputs[0])
    return (
        None if len(shape) == 4 and shape[2] * shape[3] > 1 else "pooling of a single position has no kernel"
    )


def lower_mean(lowering: Lowering, node: Node) -> None:
    """Mean over all positions of a map, or over all tokens."""
    read = lowering.layout(node.inputs[0])
    assert isinstance(read, Planes)
    sizes = (read.channels, read.plane, read.lanes, read.height * read.width, lowering.mask(read))
    lowering.call("mean_of_planes", lowering.place(node.inputs[0]), lowering.place(node.output), *sizes)


def mean_reason(graph: Graph, node: Node) -> str | None:
    """Only means over all positions, into a flat value, have a kernel."""
    operation = node.operation
    assert isinstance(operation, Mean)
    shape = graph.shape(node.inputs[0])
    all_positions = {4: (2, 3), 3: (1,)}.get(len(shape))
    flat = len(graph.shape(node.output)) in (2, 4)
    if operation.axes == all_positions and flat and int(np.prod(shape[2:])) > 1:
        return None
    return f"a mean over axes {operation.axes} of {shape} has no kernel"


def lower_softmax(lowering: Lowering, node: Node) -> None:
    """Softmax across planes, or along rows of a flat value."""
    operation = node.operation
    assert isinstance(operation, Softmax)
    layout = lowering.layout(node.output)
    source, output, logarithm = (
        lowering.place(node.inputs[0]),
        lowering.place(node.output),
        int(operation.logarithm),
    )
    if isinstance(layout, Planes):
        sizes = (layout.channels, layout.plane, layout.lanes)
        lowering.call("softmax_planes", source, output, *sizes, logarithm, lowering.mask(layout))
    else:
        lowering.call("softmax_rows", source, output, *_rows(layout, 1), logarithm)


def softmax_reason(graph: Graph, node: Node) -> str | None:
    """Softmax runs over the axis that lies across planes, or over the last axis of a flat value."""
    operation = node.operation
    assert isinstance(operation, Softmax)
    return _axis_reason(graph, node, operation.axis)


def _axis_reason(graph: Graph, node: Node, axis: int) -> str | None:
    shape = graph.shape(node.output)
    planar = len(shape) == 3 or (len(shape) == 4 and shape[2] * shape[3] > 1)
    wanted = 1 if planar and len(shape) == 4 else len(shape) - 1
    return None if axis == wanted else f"an operation along axis {axis} of {shape} has no kernel"


def lower_layer_norm(lowering: Lowering, node: Node) -> None:
    """Normalise every token across planes, or rows of a flat value."""
    operation = node.operation
    assert isinstance(operation, LayerNorm)
    layout = lowering.layout(node.output)
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    if isinstance(layout, Planes):
        scale_and_shift = _scale_and_shift(lowering, operation, layout.channels)
        sizes = (layout.channels, layout.plane, layout.lanes)
        lowering.call(
            "layer_norm_planes",
            source,
            *scale_and_shift,
            output,
            *sizes,
            operation.epsilon,
            lowering.mask(layout),
        )
    else:
        rows, width = _rows(layout, operation.axes)
        scale_and_shift = _scale_and_shift(lowering, operation, width)
        lowering.call("layer_norm_rows", source, *scale_and_shift, output, rows, width, operation.epsilon)


def layer_norm_reason(graph: Graph, node: Node) -> str | None:
    """Layer norm runs over the last axis of tokens, or over the last axes of a flat value."""
    operation = node.operation
    assert isinstance(operation, LayerNorm)
    shape = graph.shape(node.output)
    flat = len(shape) == 2 or len(shape) > 4 or (len(shape) == 4 and shape[2] * shape[3] == 1)
    if flat or (len(shape) == 3 and operation.axes == 1):
        return None
    return f"a layer norm over the last {operation.axes} axes of {shape} has no kernel"


def lower_group_norm(lowering: Lowering, node: Node) -> None:
    """Normalise groups of planes over all their positions."""
    operation = node.operation
    assert isinstance(operation, GroupNorm)
    layout = lowering.layout(node.output)
    assert isinstance(layout, Planes)
    lowering.call(
        "group_norm",
        lowering.place(node.inputs[0]),
        *_scale_and_shift(lowering, operation, layout.channels),
        lowering.place(node.output),
        operation.groups,
        layout.channels // operation.groups,
        layout.plane,
        layout.lanes,
        layout.height * layout.width,
        operation.epsilon,
        lowering.mask(layout),
    )


def group_norm_reason(graph: Graph, node: Node) -> str | None:
    """Group norm reads maps of more than one position."""
    return pool_reason(graph, node) and "group norm of this shape has no kernel"


def _scale_and_shift(
    lowering: Lowering, operation: LayerNorm | GroupNorm, width: int
) -> tuple[Constant, Constant]:
    scale = lowering.weight(operation.weight).reshape(-1) if operation.weight else np.ones(width, np.float32)
    shift = lowering.weight(operation.bias).reshape(-1) if operation.bias else np.zeros(width, np.float32)
    return lowering.constant(scale), lowering.constant(shift)


def _rows(layout: Flat, axes: int) -> tuple[int, int]:
    """Rows and their width when the last `axes` axes are taken together."""
    return int(np.prod(layout.shape[:-axes])), int(np.prod(layout.shape[-axes:]))
