"""Lowers products with matrices that tokens choose."""

import numpy as np

from spokeshave.compiler.emit.literals import requantization_literal
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.matrix import panel_constants
from spokeshave.compiler.emit.program import Argument, Place
from spokeshave.compiler.emit.vectors import VectorProduct, pack_integer_vectors, pack_vectors
from spokeshave.compiler.graph import Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.instances import (
    Epilogue,
    PanelKernel,
    SelectedKernel,
    SubsetKernel,
)
from spokeshave.compiler.kernels.packing import pack_panels
from spokeshave.compiler.kernels.subsets import SubsetPanels
from spokeshave.compiler.layout import FLOAT_BYTES, Flat, Grid, Layout, Planes, round_up, words
from spokeshave.compiler.operations import QuantizedSelected, SelectedLinear
from spokeshave.compiler.quantization.arithmetic import conversion, requantization
from spokeshave.compiler.schedule import Product

RANGE_WORDS = 2  # where a matrix's tokens begin and end


def lower_selected_linear(lowering: Lowering, node: Node) -> None:
    """One call; tokens are lanes where every matrix can expect enough of them, else vectors."""
    operation = node.operation
    assert isinstance(operation, SelectedLinear)
    matrices = lowering.weight(operation.weight)
    if over_lanes(len(matrices), lowering.layout(node.inputs[0]), lowering.layout(node.output), lowering.isa):
        _over_lanes(lowering, node, matrices)
    else:
        _over_vectors(lowering, node, matrices)


def over_lanes(matrices: int, read: Layout, written: Layout, isa: InstructionSet) -> bool:
    """Whether tokens are lanes: with so many matrices, each is asked for by a vector of them.

    With fewer, vectors are faster (of 1024 x 512, an eighth kept or all, with 8 tokens each: by 1.4 to 2.1).
    """
    planar = isinstance(read, Planes) and isinstance(written, Planes)
    return planar and int(read.shape[0]) >= matrices * isa.lanes


def lower_quantized_selected(lowering: Lowering, node: Node) -> None:
    """The same in integers; tokens are vectors that are rounded before, each a row of whole words."""
    operation = node.operation
    assert isinstance(operation, QuantizedSelected)
    weights = lowering.graph.weights
    matrices, scale = weights[operation.layer.weight], weights[operation.weight_scale]
    after = requantization(operation.product, matrices.flatten(0, 1), scale, None)
    product = pack_integer_vectors(lowering, matrices.flatten(0, 1).numpy(), after, len(matrices))
    tokens, width = lowering.layout(node.inputs[0]).shape
    row = words(width, "uint8")
    rows = lowering.place(lowering.temporary(Flat((tokens, row))))
    convert = requantization_literal(conversion(operation.input))
    source = _rows(lowering, node)
    lowering.call("quantize_rows", source, rows, tokens, width, width, row * FLOAT_BYTES, convert)
    _as_vectors(lowering, node, product, (*matrices.shape[:2], row), rows, convert)


def _over_vectors(lowering: Lowering, node: Node, matrices: np.ndarray) -> None:
    count, rows, width = matrices.shape
    bias = np.zeros(count * rows, np.float32)
    product = pack_vectors(lowering, matrices.reshape(-1, width), bias, Epilogue(), count)
    _as_vectors(lowering, node, product, matrices.shape, _rows(lowering, node))


def _rows(lowering: Lowering, node: Node) -> Place:
    """The tokens, row-major."""
    source = lowering.row_major(node.inputs[0])
    lowering.fetch_rows(node.inputs[0], source)
    return source


def _as_vectors(
    lowering: Lowering,
    node: Node,
    product: VectorProduct,
    shape: tuple[int, ...],
    source: Place,
    *settings: Argument,
) -> None:
    """The call with tokens as vectors, rows of as many words as the last of `shape`, that of the matrices."""
    output, (tokens, rows) = lowering.row_major(node.output), lowering.layout(node.output).shape
    arguments = _tokens(lowering, node, shape, product.kernel.rows)
    room = (lowering.place(lowering.temporary(Flat((tokens, size)))) for size in (shape[-1], rows))
    kernel = SelectedKernel(product.kernel)
    lowering.call_kernel(kernel, *product.constants, *arguments, source, output, *room, *settings)
    lowering.store_rows(output, node.output)


def _over_lanes(lowering: Lowering, node: Node, matrices: np.ndarray) -> None:
    """Every matrix's tokens begin at a whole vector, so planes of tokens in order have some lanes more."""
    count, rows, width = matrices.shape
    matrix, lanes = matrices.reshape(-1, width), lowering.isa.lanes
    read, written = lowering.layout(node.inputs[0]), lowering.layout(node.output)
    assert isinstance(read, Planes)
    assert isinstance(written, Planes)
    product = Product(matrix != 0, count, (), width, -(-int(read.width) // (count * lanes)))
    schedule = lowering.choose(product)
    panels = pack_panels(matrix, schedule.rows, count, product.order if schedule.reordered else None)
    packed = SubsetPanels.of(panels) if schedule.by_subsets else panels
    kernel = (SubsetKernel if schedule.by_subsets else PanelKernel)(schedule.rows, schedule.vectors)
    slots = _slots(read.width, count, lanes)
    plane = Grid(slots, 0).planes(1, 1, slots, lanes).plane
    constants = (
        *panel_constants(packed, packed.columns % width * plane),
        np.zeros(panels.count // count * schedule.rows, np.float32),
        panels.row_numbers % np.int32(rows) * np.int32(plane),
        np.full(slots, -1, np.int32),
    )
    lowering.call_kernel(
        SelectedKernel(kernel),
        *(lowering.constant(array) for array in constants),
        schedule.chunk,
        int(schedule.by_lanes),
        *(read.plane, written.plane, plane),
        *_tokens(lowering, node, matrices.shape, schedule.rows),
        *(lowering.place(name) for name in (node.inputs[0], node.output)),
        *(lowering.place(lowering.temporary(Flat((size, plane)))) for size in (width, rows)),
        schedule=schedule,
    )


def _slots(tokens: int, matrices: int, lanes: int) -> int:
    """Places for tokens of which each matrix's begin at a whole vector."""
    return round_up(int(tokens), lanes) + matrices * lanes


def _tokens(lowering: Lowering, node: Node, shape: tuple[int, ...], panel_rows: int) -> tuple[Argument, ...]:
    """The arguments that say which token meets which matrix, and room to put them in order."""
    count, rows, width = shape
    tokens = lowering.layout(node.inputs[0]).shape[0]
    sizes = (RANGE_WORDS * (count + 1), _slots(tokens, count, lowering.isa.lanes), int(tokens))
    room = (lowering.place(lowering.temporary(Flat((size,)))) for size in sizes)
    chosen, panels = lowering.place(node.inputs[1]), -(-rows // panel_rows)
    return chosen, count, panels, rows, width, tokens, *room, lowering.step, "r->fault"
