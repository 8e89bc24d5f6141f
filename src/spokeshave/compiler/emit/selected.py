"""Lowers products with matrices that tokens choose."""

import numpy as np

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.matrix import panel_constants
from spokeshave.compiler.emit.program import Argument
from spokeshave.compiler.emit.vectors import pack_vectors
from spokeshave.compiler.graph import Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.instances import (
    Epilogue,
    PanelKernel,
    SelectedKernel,
    SubsetKernel,
    VectorKernel,
)
from spokeshave.compiler.kernels.packing import pack_panels
from spokeshave.compiler.kernels.subsets import SubsetPanels
from spokeshave.compiler.layout import Flat, Grid, Layout, Planes, round_up
from spokeshave.compiler.operations import SelectedLinear
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
    """Whether tokens are lanes: with so many matrices, each is asked for by half a vector of them."""
    planar = isinstance(read, Planes) and isinstance(written, Planes)
    return planar and 2 * int(read.shape[0]) >= matrices * isa.lanes


def _over_vectors(lowering: Lowering, node: Node, matrices: np.ndarray) -> None:
    count, rows, width = matrices.shape
    bias = np.zeros(count * rows, np.float32)
    product = pack_vectors(lowering, matrices.reshape(-1, width), bias, Epilogue(), count)
    assert isinstance(product.kernel, VectorKernel)
    source, output = lowering.row_major(node.inputs[0]), lowering.row_major(node.output)
    lowering.fetch_rows(node.inputs[0], source)
    tokens = _tokens(lowering, node, matrices, product.kernel.rows)
    in_order = (
        Flat(lowering.layout(node.inputs[0]).shape),
        Flat(lowering.layout(node.output).shape),
    )
    rooms = (lowering.place(lowering.temporary(layout)) for layout in in_order)
    kernel = SelectedKernel(product.kernel)
    lowering.call_kernel(kernel, *product.constants, *tokens, source, output, *rooms)
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
        *_tokens(lowering, node, matrices, schedule.rows),
        *(lowering.place(name) for name in (node.inputs[0], node.output)),
        *(lowering.place(lowering.temporary(Flat((size, plane)))) for size in (width, rows)),
        schedule=schedule,
    )


def _slots(tokens: int, matrices: int, lanes: int) -> int:
    """Places for tokens of which each matrix's begin at a whole vector."""
    return round_up(int(tokens), lanes) + matrices * lanes


def _tokens(lowering: Lowering, node: Node, matrices: np.ndarray, panel_rows: int) -> tuple[Argument, ...]:
    """The arguments that say which token meets which matrix, and room to put them in order."""
    count, rows, width = matrices.shape
    tokens = lowering.layout(node.inputs[0]).shape[0]
    sizes = (RANGE_WORDS * (count + 1), _slots(tokens, count, lowering.isa.lanes), int(tokens))
    room = (lowering.place(lowering.temporary(Flat((size,)))) for size in sizes)
    chosen, panels = lowering.place(node.inputs[1]), -(-rows // panel_rows)
    return chosen, count, panels, rows, width, tokens, *room, lowering.step, "r->fault"
