"""Lowers convolutions and linear layers to panel kernels (many lanes) or vector kernels (one lane)."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from spokeshave.compiler.emit.depthwise import is_depthwise, lower_depthwise
from spokeshave.compiler.emit.images import column_offsets, image_count, images
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import GROUP, Argument, Place
from spokeshave.compiler.emit.taps import edges, taps
from spokeshave.compiler.emit.vectors import pack_vectors
from spokeshave.compiler.emit.winograd import lower_winograd, tiles_of
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.kernels.instances import Epilogue, FinishKernel, PanelKernel, SubsetKernel
from spokeshave.compiler.kernels.packing import Panels, in_groups, pack_blocks, pack_panels, padded, with_room
from spokeshave.compiler.kernels.subsets import SubsetPanels
from spokeshave.compiler.layout import FLOAT_BYTES, Flat, Planes
from spokeshave.compiler.operations import Convolution, Linear
from spokeshave.compiler.schedule import Product, Schedule, Tiles
from spokeshave.schemes.coded import CodedStructure
from spokeshave.schemes.packed import DenseBlocks


@dataclass(frozen=True)
class Columns:
    """What the columns of a product read: from `source`, how many floats further on, and where the planes have too few
    gaps, `masks` for the lanes, `[shifts, lanes]`, and which of them each column takes.
    """

    source: Place
    offsets: np.ndarray
    masks: np.ndarray | None = None
    which: np.ndarray | None = None

    @property
    def shifts(self) -> int:
        """How many masks there are."""
        return 0 if self.masks is None else len(self.masks)


def lower_linear(lowering: Lowering, node: Node) -> None:
    """A linear layer: tokens are lanes, or one vector."""
    operation = node.operation
    assert isinstance(operation, Linear)
    matrix = lowering.weight(operation.weight)
    read = lowering.layout(node.inputs[0])
    if isinstance(read, Flat):
        _vector(lowering, node, matrix, lowering.place(node.inputs[0]), prod(read.shape[:-1]))
    else:
        product = _product(lowering, node, matrix, read.channels)
        columns = Columns(lowering.place(node.inputs[0]), np.arange(matrix.shape[1]) * read.plane)
        _panels(lowering, node, matrix, product, lowering.choose(product), columns)


def lower_convolution(lowering: Lowering, node: Node) -> None:
    """A convolution: positions are lanes; one to a single position is a matrix times one vector."""
    operation = node.operation
    assert isinstance(operation, Convolution)
    if is_depthwise(lowering.graph, node):
        lower_depthwise(lowering, node)
        return
    weight = lowering.weight(operation.weight)
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    if isinstance(written, Flat):
        matrix = _one_position(operation, weight, lowering.graph.shape(node.inputs[0]))
        _vector(lowering, node, matrix, _flattened(lowering, node.inputs[0]))
        return
    assert isinstance(read, Planes)
    kernel = (weight.shape[2], weight.shape[3])
    all_taps = taps(operation, kernel)
    channels = lowering.graph.shape(node.inputs[0])[1]
    matrix, planes = weight.reshape(weight.shape[0], -1), channels * image_count(operation, all_taps)
    tiles = None if lowering.done else tiles_of(lowering.graph, node, lowering.layouts, lowering.isa)
    without_gaps = written.pitch == written.width and any(tap.shift[1] for tap in all_taps)
    product = _product(lowering, node, matrix, planes, tiles, without_gaps)
    schedule = lowering.choose(product)
    if schedule.winograd:
        bias, residual = (
            _bias(lowering, node, len(weight)),
            _residual(lowering, node, lowering.place(node.output)),
        )
        lower_winograd(lowering, node, weight, bias, residual, schedule)
        return
    source, read = images(lowering, operation, node.inputs[0], written, all_taps)
    columns = Columns(source, column_offsets(all_taps, channels, read, channels))
    if masked := edges(all_taps, read, written):
        masks, which = masked
        columns = replace(columns, masks=masks, which=np.tile(which, channels))
    _panels(lowering, node, matrix, product, schedule, columns)


def convolution_reason(graph: Graph, node: Node) -> str | None:
    """Why a convolution cannot be compiled, or None."""
    operation = node.operation
    assert isinstance(operation, Convolution)
    read, written = graph.shape(node.inputs[0]), graph.shape(node.output)
    if read[2] * read[3] == 1 and written[2] * written[3] > 1:
        return "a convolution of a 1 x 1 map that grows it has no kernel"
    return None


def _one_position(operation: Convolution, weight: np.ndarray, read: tuple[int, ...]) -> np.ndarray:
    """The matrix `[M, C * H * W]` of a convolution with one output position: taps on the padding read nothing."""
    matrix = np.zeros((weight.shape[0], *read[1:]), weight.dtype)
    for ky, kx in np.ndindex(*weight.shape[2:]):
        y, x = (
            k * d - p for k, d, p in zip((ky, kx), operation.dilation, operation.padding[:2], strict=True)
        )
        if 0 <= y < read[2] and 0 <= x < read[3]:
            for rows, columns in _groups(operation.groups, weight.shape):
                matrix[rows, columns, y, x] = weight[rows, :, ky, kx]
    return matrix.reshape(len(matrix), -1)


def _groups(groups: int, shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Output and input channels of each group."""
    outputs, inputs = shape[0] // groups, shape[1]
    return [
        (slice(group * outputs, (group + 1) * outputs), slice(group * inputs, (group + 1) * inputs))
        for group in range(groups)
    ]


def _flattened(lowering: Lowering, value: str) -> Place:
    layout = lowering.layout(value)
    if isinstance(layout, Flat):
        return lowering.place(value)
    flat = Flat(layout.shape)
    temporary = lowering.temporary(flat)
    lowering.copy(
        lowering.place(value), layout.strides, lowering.place(temporary), flat.strides, layout.shape
    )
    return lowering.place(temporary)


def _epilogue(node: Node) -> Epilogue:
    operation = node.operation
    assert isinstance(operation, Convolution | Linear)
    return Epilogue(operation.residual, operation.activation)


def _bias(lowering: Lowering, node: Node, rows: int) -> np.ndarray:
    operation = node.operation
    assert isinstance(operation, Convolution | Linear)
    if operation.bias is None:
        return np.zeros(rows, np.float32)
    return lowering.weight(operation.bias).reshape(-1)


def _residual(lowering: Lowering, node: Node, output: Argument) -> Argument:
    """The residual's place; where there is none, any valid pointer serves."""
    return lowering.along(lowering.residual(node.inputs[1])) if _epilogue(node).residual else output


def _product(
    lowering: Lowering,
    node: Node,
    matrix: np.ndarray,
    channels: int,
    tiles: Tiles | None = None,
    masked: bool = False,
) -> Product:
    """The product of a matrix `[M, K / groups]` with the planes of `channels`."""
    operation = node.operation
    assert isinstance(operation, Convolution | Linear)
    written = lowering.layout(node.output)
    assert isinstance(written, Planes)
    groups = operation.groups if isinstance(operation, Convolution) else 1
    lanes = lowering.isa.lanes
    return Product(
        matrix != 0,
        groups,
        _blocks(lowering, operation.weight, groups),
        channels,
        int(written.lanes) // lanes,
        left=0 if lowering.done else written.left(lanes),
        tiles=tiles,
        masked=masked,
    )


def _panels(
    lowering: Lowering,
    node: Node,
    matrix: np.ndarray,
    product: Product,
    schedule: Schedule,
    columns: Columns,
) -> None:
    """Append the panel kernel's call, or the calls that accumulate block by block, as the schedule says."""
    written = lowering.layout(node.output)
    assert isinstance(written, Planes)
    if schedule.by_blocks:
        panels = pack_blocks([(*block, matrix[np.ix_(*block)]) for block in product.blocks], schedule.rows)
        _accumulated(lowering, node, panels, schedule, columns)
        return
    panels = pack_panels(matrix, schedule.rows, product.groups, product.order if schedule.reordered else None)
    output = lowering.along(lowering.place(node.output))
    tile = schedule.rows, schedule.vectors, _epilogue(node)
    kernel = (
        SubsetKernel(*tile, columns.shifts > 0)
        if schedule.by_subsets
        else PanelKernel(*tile, left=schedule.left, shifts=columns.shifts, changes=schedule.changes)
    )
    bias = _bias(lowering, node, matrix.shape[0])[panels.row_numbers]
    packed = SubsetPanels.of(panels) if schedule.by_subsets else panels
    arguments = _panel_arguments(lowering, written, packed, schedule, bias, columns)
    residual = _residual(lowering, node, output)
    lowering.call_kernel(
        kernel, *arguments, lowering.along(columns.source), output, residual, schedule=schedule
    )


def _accumulated(
    lowering: Lowering,
    node: Node,
    panels: Panels,
    schedule: Schedule,
    columns: Columns,
) -> None:
    """Bias into every row, blocks added to it, then residual and activation."""
    written = lowering.layout(node.output)
    assert isinstance(written, Planes)
    output = lowering.along(lowering.place(node.output))
    bias = _bias(lowering, node, written.channels)
    lanes = lowering.units(written.lanes, lowering.isa.lanes)
    lowering.call("fill_rows", lowering.constant(bias), output, written.channels, written.plane, lanes)
    kernel = PanelKernel(schedule.rows, schedule.vectors, accumulate=True, shifts=columns.shifts)
    arguments = _panel_arguments(lowering, written, panels, schedule, np.zeros(1, np.float32), columns)
    lowering.call_kernel(
        kernel, *arguments, lowering.along(columns.source), output, output, schedule=schedule
    )
    finish = FinishKernel(_epilogue(node))
    extent = written.channels, written.plane, lanes, lowering.along(lowering.mask(written))
    lowering.call_kernel(finish, output, _residual(lowering, node, output), *extent)


def _blocks(lowering: Lowering, weight: str, groups: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Row and column numbers of a weight's blocks, where its scheme gave it blocks."""
    packed = lowering.packed.get(weight)
    packed = packed.structure if isinstance(packed, CodedStructure) else packed
    if not isinstance(packed, DenseBlocks) or groups > 1:
        return ()
    return tuple((np.asarray(block.rows), np.asarray(block.columns)) for block in packed.blocks)


def panel_constants(panels: Panels | SubsetPanels, offsets: np.ndarray) -> tuple[np.ndarray, ...]:
    """The packed matrix as the kernels take it; `offsets` says where each column lies, in floats."""
    columns = padded(offsets * FLOAT_BYTES)
    if isinstance(panels, SubsetPanels):
        return columns, panels.column_start, panels.ends, panels.weights, panels.weight_start
    return columns, panels.column_start, panels.weights


def _masks(
    lowering: Lowering, panels: Panels | SubsetPanels, columns: Columns
) -> tuple[Panels | SubsetPanels, tuple[Argument, ...]]:
    """The panels in the order that the masks ask for, and the kernel's arguments about these."""
    if columns.masks is None or columns.which is None:
        return panels, ()
    masks, which = lowering.along(lowering.constant(columns.masks)), columns.which[panels.columns]
    lanes = columns.masks.shape[1]
    if isinstance(panels, SubsetPanels):
        return panels, (lowering.constant((which * lanes).astype(np.int32)), masks)
    ordered, ends = in_groups(panels, which, columns.shifts)
    return ordered, (lowering.constant(ends), masks, lanes)


def _panel_arguments(
    lowering: Lowering,
    written: Planes,
    panels: Panels | SubsetPanels,
    schedule: Schedule,
    bias: np.ndarray,
    columns: Columns,
) -> tuple[Argument, ...]:
    panels, masks = _masks(lowering, panels, columns)
    if isinstance(panels, Panels):
        panels = replace(panels, weights=with_room(panels.weights, schedule, lowering.isa.lanes))
    return (
        *masks,
        *(lowering.constant(array) for array in panel_constants(panels, columns.offsets[panels.columns])),
        lowering.constant(bias),
        lowering.constant(panels.row_numbers * np.int32(written.plane)),
        lowering.along(lowering.mask(written)),
        panels.count,
        lowering.units(written.lanes // lowering.isa.lanes),
        schedule.chunk,
        int(schedule.by_lanes),
        *left_lanes(written, schedule, lowering.isa.lanes),
    )


def left_lanes(written: Planes, schedule: Schedule, lanes: int) -> tuple[str, ...]:
    """The argument that tells a kernel the true lanes of the last vector, where their number changes."""
    return (f"{written.width} % {lanes}",) if schedule.changes else ()


def _vector(lowering: Lowering, node: Node, matrix: np.ndarray, source: Place, vectors: int = 1) -> None:
    """Append the vector kernel's call for vectors that lie one behind the other, or for one of each sample."""
    output, (rows, columns) = lowering.place(node.output), matrix.shape
    bias = _bias(lowering, node, rows)
    product = pack_vectors(lowering, matrix, bias, _epilogue(node))
    count, read, made = (vectors, columns, rows) if vectors > 1 else (GROUP[0], GROUP[1], GROUP[1])
    lowering.call_kernel(
        product.kernel,
        *product.constants,
        rows,
        count,
        0,
        source,
        read,
        output,
        _residual(lowering, node, output),
        made,
    )
