"""Lowers convolutions of 3 x 3 to Winograd kernels (`kernels/winograd.py`), where the schedule says so.

What pays is whole kernels that a block of outputs leaves out together; zeros inside a kernel are multiplied.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spokeshave.compiler.count import Count
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.pairs import is_max_of_pairs
from spokeshave.compiler.emit.program import Argument
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet, level_two_cache_bytes
from spokeshave.compiler.kernels.instances import Epilogue, WinogradKernel
from spokeshave.compiler.kernels.winograd import scratch_floats
from spokeshave.compiler.layout import CACHE_LINE_FLOATS, Flat, Layout, Planes, round_up
from spokeshave.compiler.operations import Convolution
from spokeshave.compiler.schedule import TILE_SIDE, Product, Schedule, Tiles, schedule_for

NEVER_FALLING = ("relu", "clamp")  # activations that may be applied to the largest number alone
MOST_KEPT = 64  # kernels of a block of outputs in one pass: more would outgrow the level-1 cache


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
    rows, columns = (-(-size // TILE_SIDE) for size in (written.height, written.width))
    pooled = _pooled(graph, node) is not None
    return Tiles(rows, columns, isa.lanes, level_two_cache_bytes(isa), pooled)


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
    """Append the kernel's call for a weight `[M, C, 3, 3]` and a bias `[M]`.

    A max pooling of two by two behind it goes with it.
    """
    operation = node.operation
    assert isinstance(operation, Convolution)
    pooled = _pooled(lowering.graph, node)
    output = node.output if pooled is None else pooled
    if pooled is not None:
        lowering.made.add(pooled)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(output)
    assert isinstance(read, Planes)
    assert isinstance(written, Planes)
    outputs = len(weight)
    tiles = tiles_of(lowering.graph, node, lowering.layouts, lowering.isa)
    assert tiles is not None
    block = schedule.vectors * lowering.isa.lanes
    kernels = pack_kernels(weight, block)
    row = round_up(schedule.chunk * tiles.columns, max(CACHE_LINE_FLOATS, lowering.isa.lanes))
    sizes = (tiles.columns, schedule.chunk, row, block, kernels.most)
    scratch = scratch_floats(len(kernels.read), *sizes, lowering.isa.lanes)
    shape = (
        *(len(kernels.read), read.height, read.width, read.pitch, *operation.padding[:2]),
        *(outputs, written.height, written.width, written.pitch, written.lanes),
        *(tiles.rows, tiles.columns, schedule.chunk, row, kernels.most, read.plane, written.plane),
    )
    epilogue = Epilogue(operation.residual, operation.activation)
    lowering.call_kernel(
        WinogradKernel(schedule.rows, schedule.vectors, epilogue, pooled is not None),
        f"(winograd_shape){{{', '.join(map(str, shape))}}}",
        lowering.constant(kernels.weights),
        lowering.constant(kernels.channels * np.int32(row)),
        lowering.constant(kernels.starts),
        lowering.constant(kernels.read),
        lowering.constant(bias),
        lowering.place(node.inputs[0]),
        lowering.place(output),
        residual,
        lowering.place(lowering.temporary(Flat((scratch,)))),
        schedule=schedule,
    )


def _pooled(graph: Graph, node: Node) -> str | None:
    """What max pooling of two by two makes of a convolution's output that nothing else reads, or None."""
    operation, readers = node.operation, graph.readers(node.output)
    assert isinstance(operation, Convolution)
    if operation.residual or len(readers) != 1 or node.output in graph.outputs:
        return None
    rises = operation.activation is None or operation.activation.kind in NEVER_FALLING
    return readers[0].output if rises and is_max_of_pairs(graph, readers[0]) else None


@dataclass(frozen=True)
class Kernels:
    """Kernels of 3 x 3 that blocks of outputs keep, block after block.

    `weights`: `[kept, 9, block]`, zeros behind the last output; `read`: channels that any block keeps a kernel of;
    `channels`: where each kernel's is among these, `[kept]`; `starts`: the first of every block, `[blocks + 1]`.
    """

    weights: np.ndarray
    read: np.ndarray
    channels: np.ndarray
    starts: np.ndarray

    @property
    def most(self) -> int:
        """Kernels of one block in one pass, at most; 1 where there are none."""
        return min(MOST_KEPT, max(1, int(np.diff(self.starts).max())))


def pack_kernels(weight: np.ndarray, block: int) -> Kernels:
    """A weight `[M, C, 3, 3]` in blocks of outputs.

    >>> weight = np.ones((5, 3, 3, 3), np.float32)
    >>> weight[:4, 0] = weight[:, 1] = 0
    >>> packed = pack_kernels(weight, 4)
    >>> packed.weights.shape, packed.read.tolist(), packed.channels.tolist(), packed.starts.tolist()
    ((3, 9, 4), [0, 2], [1, 0, 1], [0, 1, 3])
    """
    outputs, channels = weight.shape[:2]
    padded = np.zeros((-(-outputs // block) * block, channels, 9), np.float32)
    padded[:outputs] = weight.reshape(outputs, channels, 9)
    blocks = padded.reshape(-1, block, channels, 9)
    kept = (blocks != 0).any((1, 3))
    number, channel = np.nonzero(kept)
    read = np.flatnonzero(kept.any(0)).astype(np.int32)
    return Kernels(
        np.ascontiguousarray(blocks[number, :, channel].transpose(0, 2, 1)),
        read,
        np.searchsorted(read, channel).astype(np.int32),
        np.concatenate([[0], np.cumsum(kept.sum(1))]).astype(np.int32),
    )
