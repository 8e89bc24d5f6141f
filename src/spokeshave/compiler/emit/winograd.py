"""Lowers convolutions of 3 x 3 to Winograd kernels (`kernels/winograd.py`), where the schedule says so.

What pays is whole kernels that a block of outputs leaves out together; zeros inside a kernel are multiplied.
"""

from collections.abc import Mapping
from dataclasses import dataclass

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

# Channels of one pass. Between passes all sums are stored and loaded again; in a long one tiles lie an odd number of
# cache lines apart, since they would evict each other from the level-1 cache otherwise.
DEPTHS = (64, 144, 272, 528)
MOST_KEPT = 64  # kernels of a block of outputs in one pass, unless it is the shortest


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
    kernels = pack_kernels(weight, block)
    scratch = scratch_floats(channels, schedule.chunk * tiles.columns, block, kernels.depth, kernels.most)
    shape = (
        *(channels, read.height, read.width, read.pitch, *operation.padding[:2]),
        *(outputs, written.height, written.width, written.pitch, written.lanes),
        *(tiles.rows, tiles.columns, schedule.chunk, kernels.depth, kernels.most, read.plane, written.plane),
    )
    epilogue = Epilogue(operation.residual, operation.activation)
    lowering.call_kernel(
        WinogradKernel(schedule.rows, schedule.vectors, kernels.depth, epilogue),
        f"(winograd_shape){{{', '.join(map(str, shape))}}}",
        lowering.constant(kernels.weights),
        lowering.constant(kernels.channels),
        lowering.constant(kernels.starts),
        lowering.constant(bias),
        lowering.place(node.inputs[0]),
        lowering.place(node.output),
        residual,
        lowering.place(lowering.temporary(Flat((scratch,)))),
        schedule=schedule,
    )


@dataclass(frozen=True)
class Kernels:
    """Kernels of 3 x 3 that blocks of outputs keep, passes over `depth` channels after passes.

    `weights`: `[kept, 9, block]`, zeros behind the last output; `channels`: where each lies in its pass; `starts`: the
    first of every block and pass, `[blocks * passes + 1]`.
    """

    depth: int
    weights: np.ndarray
    channels: np.ndarray
    starts: np.ndarray

    @property
    def most(self) -> int:
        """Kernels of one block in one pass, at most; 1 where there are none."""
        return max(1, int(np.diff(self.starts).max()))


def pack_kernels(weight: np.ndarray, block: int) -> Kernels:
    """A weight `[M, C, 3, 3]` in blocks of outputs; passes are as long as MOST_KEPT kernels of each allow.

    >>> weight = np.ones((5, 2, 3, 3), np.float32)
    >>> weight[:4, 0] = 0
    >>> packed = pack_kernels(weight, 4)
    >>> packed.weights.shape, packed.channels.tolist(), packed.starts.tolist()
    ((3, 9, 4), [1, 0, 1], [0, 1, 3])
    """
    outputs, channels = weight.shape[:2]
    padded = np.zeros((-(-outputs // block) * block, channels, 9), np.float32)
    padded[:outputs] = weight.reshape(outputs, channels, 9)
    blocks = padded.reshape(-1, block, channels, 9)
    kept = (blocks != 0).any((1, 3))
    depth = _depth(kept)
    number, channel = np.nonzero(kept)
    return Kernels(
        depth,
        np.ascontiguousarray(blocks[number, :, channel].transpose(0, 2, 1)),
        (channel % depth).astype(np.int32),
        np.concatenate([[0], np.cumsum(_in_passes(kept, depth))]).astype(np.int32),
    )


def _depth(kept: np.ndarray) -> int:
    shortest, *others = DEPTHS
    depths = [shortest, *(depth for depth in others if _in_passes(kept, depth).max() <= MOST_KEPT)]
    return next((depth for depth in depths if depth >= kept.shape[1]), depths[-1])


def _in_passes(kept: np.ndarray, depth: int) -> np.ndarray:
    """How many channels every block keeps in every pass over `depth` of them."""
    return np.add.reduceat(kept, np.arange(0, kept.shape[1], depth), axis=1, dtype=np.int64).ravel()
