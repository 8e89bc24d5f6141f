"""Lowers pooling, means, softmax and normalisation."""

from math import prod

import numpy as np

from spokeshave.compiler.emit.literals import requantization_literal
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Constant
from spokeshave.compiler.emit.quantized import prepare_gaps
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.kernels.activations import float_literal
from spokeshave.compiler.layout import Flat, Planes
from spokeshave.compiler.operations import (
    GroupNorm,
    LayerNorm,
    Mean,
    Pool,
    Quantize,
    QuantizedPool,
    RMSNorm,
    Round,
    Softmax,
    Sum,
)
from spokeshave.compiler.quantization.arithmetic import conversion


def lower_pool(lowering: Lowering, node: Node) -> None:
    """Max or average pooling from planes to planes, where the convolution before it has not done it."""
    operation = node.operation
    assert isinstance(operation, Pool)
    if node.output in lowering.made:
        return
    geometry = _geometry(lowering, node, operation)
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    if lowering.done:
        read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
        assert isinstance(read, Planes)
        assert isinstance(written, Planes)
        pairs = lowering.along(source, 2 * read.pitch)
        lowering.call("max_pool", geometry, pairs, lowering.along(output, written.pitch))
    elif operation.kind == "max":
        lowering.call("max_pool", geometry, source, output)
    else:
        lowering.call("average_pool", geometry, int(operation.count_padding), source, output)


def lower_quantized_pool(lowering: Lowering, node: Node) -> None:
    """Max pooling of words of four channels; it writes no gaps, so those around another zero point are filled."""
    operation = node.operation
    assert isinstance(operation, QuantizedPool)
    geometry = _geometry(lowering, node, operation.pool)
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    lowering.fill_gaps(node.output, operation.quantization.zero_point)
    lowering.call("max_pool_words", geometry, source, output)


def _geometry(lowering: Lowering, node: Node, operation: Pool) -> str:
    """The C literal of a `pooling`."""
    read = lowering.layout(node.inputs[0])
    assert isinstance(read, Planes)
    numbers = (*_sizes(lowering, node, read), *_windows(operation))
    return f"(pooling){{{', '.join(str(number) for number in numbers)}}}"


def _sizes(lowering: Lowering, node: Node, read: Planes) -> tuple[int | str, ...]:
    written = lowering.layout(node.output)
    _, _, whole, width = lowering.graph.shape(node.output)
    height = lowering.units(whole)
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


def lower_sum(lowering: Lowering, node: Node) -> None:
    """Sum or mean over all positions of a map, over all tokens, over channels, or along rows of a flat value."""
    operation = node.operation
    assert isinstance(operation, Mean | Sum)
    read = lowering.layout(node.inputs[0])
    counted = prod(read.shape[axis - 1] for axis in operation.axes) if isinstance(operation, Mean) else 1
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    if isinstance(read, Flat):
        lowering.call("sum_of_rows", source, output, *_rows(read, 1), counted)
    elif operation.axes == _all_positions(len(read.shape) + 1):
        sizes = (read.channels, read.plane, read.lanes, counted, lowering.mask(read))
        lowering.call("mean_of_planes", source, output, *sizes)
    else:
        sizes = (read.channels, read.plane, read.lanes, counted, lowering.mask(read))
        lowering.call("sum_of_channels", source, output, *sizes)


def _all_positions(rank: int) -> tuple[int, ...] | None:
    return {4: (2, 3), 3: (1,)}.get(rank)


def sum_reason(graph: Graph, node: Node) -> str | None:
    """Over all positions into a flat value, over the channels of tokens, or over the last axis of a flat value."""
    operation = node.operation
    assert isinstance(operation, Mean | Sum)
    shape, rank = graph.shape(node.inputs[0]), len(graph.shape(node.output))
    tokens, flat = len(shape) == 3, len(shape) in (2, 5)
    positions = (
        operation.axes == _all_positions(len(shape)) and rank in (2, 4) and int(np.prod(shape[2:])) > 1
    )
    last = operation.axes == (len(shape) - 1,) and (tokens or (flat and rank > 1))
    if positions or last:
        return None
    return f"a sum over axes {operation.axes} of {shape} has no kernel"


def lower_softmax(lowering: Lowering, node: Node) -> None:
    """Softmax across planes, or along rows of a flat value."""
    operation = node.operation
    assert isinstance(operation, Softmax)
    layout = lowering.layout(node.output)
    source, output, form = (
        lowering.place(node.inputs[0]),
        lowering.place(node.output),
        (int(operation.logarithm), float_literal(operation.polynomial or 0.0)),
    )
    if isinstance(layout, Planes):
        sizes = (layout.channels, layout.plane, layout.lanes)
        lowering.call("softmax_planes", source, output, *sizes, *form, lowering.mask(layout))
    else:
        lowering.call("softmax_rows", source, output, *_rows(layout, 1), *form)


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
    layout, source = lowering.layout(node.output), lowering.place(node.inputs[0])
    rows, width = _rows(layout, operation.axes) if isinstance(layout, Flat) else (0, layout.channels)
    scale_and_shift = _scale_and_shift(lowering, operation, width)
    if isinstance(layout, Flat):
        output = lowering.place(node.output)
        lowering.call("layer_norm_rows", source, *scale_and_shift, output, rows, width, operation.epsilon)
    elif not _norm_to_words(lowering, node, scale_and_shift, operation.epsilon, centred=True):
        sizes = (layout.channels, layout.plane, layout.lanes, operation.epsilon, lowering.mask(layout))
        lowering.call("layer_norm_planes", source, *scale_and_shift, lowering.place(node.output), *sizes)


def _norm_to_words(
    lowering: Lowering, node: Node, scale_and_shift: tuple[Constant, Constant], epsilon: float, centred: bool
) -> bool:
    """Append a call that converts what it normalises, where nothing but a conversion reads it."""
    readers = lowering.graph.readers(node.output)
    if len(readers) != 1 or node.output in lowering.graph.outputs:
        return False
    (reader,) = readers
    narrowing = reader.operation
    if not isinstance(narrowing, Quantize | Round) or isinstance(lowering.layout(reader.output), Flat):
        return False
    lowering.made.add(reader.output)
    extent = lowering.extent(lowering.layout(node.output))
    arguments = (*scale_and_shift, lowering.place(reader.output), *extent, epsilon, int(centred))
    source = lowering.place(node.inputs[0])
    if isinstance(narrowing, Round):
        lowering.call("norm_to_pairs", source, *arguments)
    else:
        prepare_gaps(lowering, reader)
        after = requantization_literal(conversion(narrowing.quantization))
        lowering.call("norm_to_bytes", source, *arguments, after)
    return True


def layer_norm_reason(graph: Graph, node: Node) -> str | None:
    """Layer norm runs over the last axis of tokens, or over the last axes of a flat value."""
    operation = node.operation
    assert isinstance(operation, LayerNorm)
    shape = graph.shape(node.output)
    flat = len(shape) == 2 or len(shape) > 4 or (len(shape) == 4 and shape[2] * shape[3] == 1)
    if flat or (len(shape) == 3 and operation.axes == 1):
        return None
    return f"a layer norm over the last {operation.axes} axes of {shape} has no kernel"


def lower_rms_norm(lowering: Lowering, node: Node) -> None:
    """Every token across planes, or rows of a flat value."""
    operation = node.operation
    assert isinstance(operation, RMSNorm)
    layout, source = lowering.layout(node.output), lowering.place(node.inputs[0])
    scale = lowering.constant(_scale(lowering, operation.weight, layout.shape[-1]))
    if isinstance(layout, Flat):
        rows = _rows(layout, 1)
        lowering.call("rms_norm_rows", source, scale, lowering.place(node.output), *rows, operation.epsilon)
        return
    shift = lowering.constant(np.zeros(layout.channels, np.float32))
    if not _norm_to_words(lowering, node, (scale, shift), operation.epsilon, centred=False):
        sizes = (layout.channels, layout.plane, layout.lanes, operation.epsilon, lowering.mask(layout))
        lowering.call("rms_norm_planes", source, scale, lowering.place(node.output), *sizes)


def rms_norm_reason(graph: Graph, node: Node) -> str | None:
    """Over the last axis of tokens, or of one vector."""
    shape = graph.shape(node.output)
    return None if len(shape) in (2, 3) else f"an RMS norm of {shape} has no kernel"


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
    scale = _scale(lowering, operation.weight, width)
    shift = lowering.weight(operation.bias).reshape(-1) if operation.bias else np.zeros(width, np.float32)
    return lowering.constant(scale), lowering.constant(shift)


def _scale(lowering: Lowering, weight: str | None, width: int) -> np.ndarray:
    return lowering.weight(weight).reshape(-1) if weight else np.ones(width, np.float32)


def _rows(layout: Flat, axes: int) -> tuple[int, int]:
    """Rows and their width when the last `axes` axes are taken together."""
    return int(np.prod(layout.shape[:-axes])), int(np.prod(layout.shape[-axes:]))
