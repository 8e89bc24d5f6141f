"""Lowers depthwise convolutions: every output channel reads one input channel."""

import numpy as np

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Argument, Place
from spokeshave.compiler.emit.taps import edges, taps
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.kernels.depthwise import MOST_TAPS
from spokeshave.compiler.kernels.instances import DepthwiseKernel, Epilogue
from spokeshave.compiler.layout import Planes
from spokeshave.compiler.operations import Convolution


def is_depthwise(graph: Graph, node: Node) -> bool:
    """Whether the depthwise kernels take a node: one input channel a group, few taps, stride 1 or 2 both ways."""
    operation = node.operation
    if not isinstance(operation, Convolution) or operation.groups == 1:
        return False
    shape, written = graph.weights[operation.weight].shape, graph.shape(node.output)
    kernel_fits = shape[1] == 1 and shape[2] * shape[3] <= MOST_TAPS
    return kernel_fits and written[2] * written[3] > 1 and _has_kernel(operation)


def _has_kernel(operation: Convolution) -> bool:
    return operation.stride == (1, 1) or (operation.stride == (2, 2) and operation.dilation == (1, 1))


def strided_margins(
    operation: Convolution, kernel: tuple[int, int], read: tuple[int, int], written: tuple[int, int]
) -> tuple[int, int]:
    """Zero rows and columns that a strided kernel without phase images reads around a map of size `read`."""
    rows, columns = (
        max(operation.padding[axis], (written[axis] - 1) * operation.stride[axis] + kernel[axis]
            - operation.padding[axis] - read[axis], 0)
        for axis in (0, 1)
    )  # fmt: skip
    return rows, columns


def lower_depthwise(lowering: Lowering, node: Node) -> None:
    """One call; every channel is one row of weights."""
    operation = node.operation
    assert isinstance(operation, Convolution)
    weight = lowering.weight(operation.weight)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    assert isinstance(read, Planes)
    assert isinstance(written, Planes)
    epilogue = Epilogue(operation.residual, operation.activation)
    size = (weight.shape[2], weight.shape[3])
    masked = _edges(operation, size, read, written)
    kernel = DepthwiseKernel(size, operation.stride[0], epilogue, masked is not None)
    mask = lowering.mask(written)
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    first = Place(source.buffer, source.offset - operation.padding[0] * read.pitch - operation.padding[1])
    bias = lowering.weight(operation.bias) if operation.bias else np.zeros(len(weight), np.float32)
    lowering.call_kernel(
        kernel,
        lowering.constant(weight),
        lowering.constant(bias),
        mask,
        mask if masked is None else lowering.constant(masked),
        written.channels,
        written.channels // read.channels,
        read.plane,
        written.plane,
        read.pitch,
        *_extent(operation, read, written),
        first,
        output,
        lowering.place(node.inputs[1]) if operation.residual else output,
    )


def _edges(
    operation: Convolution, kernel: tuple[int, int], read: Planes, written: Planes
) -> np.ndarray | None:
    """Masks `[columns of the kernel, lanes]` where maps lie without gaps, else None."""
    if operation.stride != (1, 1):
        return None
    found = edges(taps(operation, kernel), read, written)
    return found and found[0]


def _extent(operation: Convolution, read: Planes, written: Planes) -> tuple[Argument, ...]:
    if operation.stride == (1, 1):
        return written.lanes, operation.dilation[0] * read.pitch, operation.dilation[1]
    return written.lanes, written.pitch, written.height, written.width
