"""Lowers products whose matrices are values, and the choice of the largest elements."""

from spokeshave.compiler.emit.attention import product_kernel
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Argument
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.kernels.instances import MatMulKernel
from spokeshave.compiler.layout import Planes
from spokeshave.compiler.operations import TopK


def lower_matmul(lowering: Lowering, node: Node) -> None:
    """One call. Where columns lie apart, as those of tokens do, rows are lanes: the transposed product is made."""
    (left, right), output = node.inputs, node.output
    layouts = [lowering.layout(name) for name in (left, right, output)]
    first, second, written = (layout.strides for layout in layouts)
    rows, columns = layouts[2].shape[-2:]
    depth = layouts[0].shape[-1]
    inner = (first[-2], first[-1], second[-2], written[-2])
    if written[-1] != 1:
        left, right, rows, columns, first, second = right, left, columns, rows, second, first
        inner = (first[-1], first[-2], second[-1], written[-1])
    shape = (*(1,) * (4 - len(layouts[2].shape)), *layouts[2].shape)
    outer = [number for strides in (first, second, written) for number in _outer(strides)]
    sizes = (
        *shape[:2],
        rows,
        depth,
        columns,
        *outer[:2],
        *inner[:2],
        *outer[2:4],
        inner[2],
        *outer[4:],
        inner[3],
    )
    kernel = MatMulKernel(product_kernel(lowering))
    numbers = ", ".join(str(number) for number in sizes)
    places = (lowering.place(name) for name in (left, right, output))
    lowering.call_kernel(kernel, f"({kernel.name}_shape){{{numbers}}}", *places)


def _outer(strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of the two axes in front of a matrix."""
    return (*(0,) * (4 - len(strides)), *strides[:-2])


def matmul_reason(graph: Graph, node: Node) -> str | None:
    """Matrices along at most two axes."""
    ranks = {len(graph.shape(name)) for name in (*node.inputs, node.output)}
    return None if max(ranks) <= 5 and min(ranks) >= 3 else "a product of values of this shape has no kernel"


def lower_top_k(lowering: Lowering, node: Node) -> None:
    """Rounds over the channels, lanes on their own."""
    operation = node.operation
    assert isinstance(operation, TopK)
    read, *written = (lowering.layout(name) for name in (*node.inputs, *node.outputs))
    assert isinstance(read, Planes)
    planes = [layout.plane for layout in written if isinstance(layout, Planes)]
    places = (lowering.place(name) for name in (*node.inputs, *node.outputs))
    sizes: tuple[Argument, ...] = (
        read.channels,
        operation.count,
        read.plane,
        *planes,
        read.lanes,
        lowering.mask(read),
    )
    lowering.call("top_channels", *places, *sizes)
