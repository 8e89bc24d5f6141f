"""Lowers dense convolutions of 3 x 3 to Winograd kernels (`kernels/winograd.py`), where the schedule says so."""

from collections.abc import Mapping

import numpy as np

from spokeshave.compiler.count import Count
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Argument
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.instances import Epilogue, WinogradKernel
from spokeshave.compiler.kernels.winograd import scratch_floats
from spokeshave.compiler.layout import Flat, Layout, Planes
from spokeshave.compiler.operations import Convolution
from spokeshave.compiler.schedule import TILE_SIDE, Product, Schedule, Tiles, schedule_for


def tiles_of(graph: Graph, node: Node, layouts: Mapping[str, Layout], isa: InstructionSet) -> Tiles | None:
    """The tiles of the map that a convolution makes; None where it is of another kind, or its size changes."""
    convolution, read, written = node.operation, layouts[node.inputs[0]], layouts[node.output]
    assert isinstance(convolution, Convolution)
    kernel = tuple(graph.weights[convolution.weight].shape[2:])
    steps = convolution.stride == convolution.dilation == (1, 1)
    if kernel != (3, 3) or not steps or convolution.groups > 1:
        return None
    if not isinstance(read, Planes) or not isinstance(written, Planes):
        return None
    if isinstance(written.height, Count) or isinstance(written.width, Count):
        return None
    return Tiles(-(-written.height // TILE_SIDE), -(-written.width // TILE_SIDE), isa.lanes)


def is_cheaper(graph: Graph, node: Node, layouts: Mapping[str, Layout], isa: InstructionSet) -> bool:
    """Whether Winograd's algorithm is estimated to take less time than a convolution over whole maps by panels."""
    tiles, written = tiles_of(graph, node, layouts, isa), layouts[node.output]
    if tiles is None or not isinstance(written, Planes):
        return False
    assert isinstance(node.operation, Convolution)
    kept = (graph.weights[node.operation.weight] != 0).flatten(1).cpu().numpy()
    channels, vectors = graph.shape(node.inputs[0])[1], written.lanes // isa.lanes
    return schedule_for(Product(kept, 1, (), channels, vectors, tiles=tiles), isa).winograd


def lower_winograd(
    lowering: Lowering,
    node: Node,
    weight: np.ndarray,
    bias: np.ndarray,
    residual: Argument,
    schedule: Schedule,
) -> None:
    """Append the kernel's call for a weight `[M, C, 3, 3]` and a bias `[M]`."""
    operation = node.operation
    assert isinstance(operation, Convolution)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    assert isinstance(read, Planes)
    assert isinstance(written, Planes)
    outputs, channels = weight.shape[:2]
    tiles = tiles_of(lowering.graph, node, lowering.layouts, lowering.isa)
    assert tiles is not None
    block = schedule.vectors * lowering.isa.lanes
    scratch = lowering.temporary(Flat((scratch_floats(channels, schedule.chunk * tiles.columns, block),)))
    shape = (
        *(channels, read.height, read.width, read.pitch, *operation.padding[:2]),
        *(outputs, written.height, written.width, written.pitch, written.lanes),
        *(tiles.rows, tiles.columns, schedule.chunk, read.plane, written.plane),
    )
    lowering.call_kernel(
        WinogradKernel(schedule.rows, schedule.vectors, Epilogue(operation.residual, operation.activation)),
        f"(winograd_shape){{{', '.join(map(str, shape))}}}",
        lowering.constant(in_blocks(weight, block)),
        lowering.constant(bias),
        lowering.place(node.inputs[0]),
        lowering.place(node.output),
        residual,
        lowering.place(scratch),
        schedule=schedule,
    )


def in_blocks(weight: np.ndarray, block: int) -> np.ndarray:
    """A weight `[M, C, 3, 3]` as `[blocks, C, 9, block]`, zeros behind the last output.

    >>> in_blocks(np.ones((5, 2, 3, 3), np.float32), 4).shape
    (2, 2, 9, 4)
    """
    outputs, channels = weight.shape[:2]
    padded = np.zeros((-(-outputs // block) * block, channels, 9), np.float32)
    padded[:outputs] = weight.reshape(outputs, channels, 9)
    return padded.reshape(-1, block, channels, 9).transpose(0, 2, 3, 1)
