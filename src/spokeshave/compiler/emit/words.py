"""What lowerings of layers in words share: where the taps of words lie, and the arrays of panels of words."""

from dataclasses import dataclass

import numpy as np

from spokeshave.compiler.emit.images import column_offsets, images
from spokeshave.compiler.emit.layouts import reads_tight
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.matrix import left_lanes
from spokeshave.compiler.emit.program import Argument, Place
from spokeshave.compiler.emit.taps import taps
from spokeshave.compiler.graph import Node
from spokeshave.compiler.kernels.packing import Panels, padded, with_room
from spokeshave.compiler.kernels.tiles import tile_panels
from spokeshave.compiler.kernels.words import pack_word_panels, whole_words, word_matrix
from spokeshave.compiler.layout import CHANNELS_PER_WORD, FLOAT_BYTES, Planes
from spokeshave.compiler.operations import Convolution, Linear
from spokeshave.compiler.schedule import Product, Schedule


@dataclass(frozen=True)
class WordPanels:
    """A layer's weights as panels of words: rows of the matrix behind the layer's own only fill the last word."""

    lowering: Lowering
    panels: Panels
    schedule: Schedule
    offsets: np.ndarray  # of the columns, in words
    rows: int  # of the layer
    strides: np.ndarray | None = None  # of each tile of columns, in words, where tile registers take them

    @property
    def in_tiles(self) -> tuple[Argument, ...]:
        """What kernels with tile registers take besides: how far apart the columns of each tile lie."""
        if self.strides is None:
            return ()
        return (self.lowering.constant((self.strides * FLOAT_BYTES).astype(np.int32)),)

    @property
    def weights(self) -> tuple[Argument, ...]:
        """Column offsets, where each panel's begin, and weights, as the kernels take them."""
        arrays = (
            padded(self.offsets[self.panels.columns] * FLOAT_BYTES),
            self.panels.column_start,
            with_room(self.panels.weights, self.schedule, self.lowering.isa.lanes),
        )
        return tuple(self.lowering.constant(array) for array in arrays)

    def per_row(self, values: np.ndarray) -> Argument:
        """Numbers of the rows in the panels' order; rows that only fill a word have 0."""
        numbers = self.panels.row_numbers
        rows = np.zeros(int(numbers.max(initial=0)) + 1, values.dtype)
        rows[: len(values)] = values
        return self.lowering.constant(rows[numbers])

    def targets(self, unit: int, planes: Planes) -> Argument:
        """Offset of the word of planes that holds each `unit` rows; what only fills a word goes to the spare plane."""
        words = self.panels.row_numbers[::unit] // unit
        real = -(-self.rows // unit)
        return self.lowering.constant((np.minimum(words, real) * planes.plane).astype(np.int32))

    def extent(self, written: Planes) -> tuple[Argument, ...]:
        """Mask, number of panels, vectors of lanes, and how to go over them."""
        vectors = written.lanes // self.lowering.isa.lanes
        loops = vectors, self.schedule.chunk, int(self.schedule.by_lanes)
        left = left_lanes(written, self.schedule, self.lowering.isa.lanes)
        return self.lowering.mask(written), self.panels.count, *loops, *left


def word_panels(
    lowering: Lowering,
    node: Node,
    layer: Convolution | Linear,
    weight: np.ndarray,
    unit: int,
    zero_byte: int = 0,
) -> tuple[WordPanels, Place]:
    """The layer's weight `[rows, channels / groups, ...]` packed, and the place of the planes that its columns read.

    Neighbouring `unit` rows stay together. `zero_byte` is what every byte of the input's gaps holds.
    """
    element = lowering.graph.values[node.inputs[0]].dtype
    written, read = planes_of(lowering, node.output), planes_of(lowering, node.inputs[0])
    if isinstance(layer, Convolution):
        tight = reads_tight(lowering.graph, node, lowering.isa)
        all_taps, channels = taps(layer, (weight.shape[2], weight.shape[3]), tight), read.channels
        source, read = images(lowering, layer, node.inputs[0], written, all_taps, tight, zero_byte)
        offsets, groups = column_offsets(all_taps, channels, read, channels), layer.groups
    else:
        source, groups, offsets = lowering.place(node.inputs[0]), 1, np.arange(read.channels) * read.plane
    matrix = whole_words(word_matrix(weight, groups, CHANNELS_PER_WORD[element]), unit)
    vectors = int(written.lanes) // lowering.isa.lanes
    left = written.left(lowering.isa.lanes)
    product = Product(matrix != 0, 1, (), read.channels, vectors, element, unit, left)
    schedule = lowering.choose(product)
    order = product.order if schedule.reordered else np.arange(len(matrix))
    panels = pack_word_panels(matrix, schedule.rows, unit, order)
    if not schedule.amx:
        return WordPanels(lowering, panels, schedule, offsets, len(weight)), source
    tiled = tile_panels(panels, offsets, int(np.prod(weight.shape[2:], dtype=int)))
    return WordPanels(lowering, tiled.panels, schedule, offsets, len(weight), tiled.strides), source


def planes_of(lowering: Lowering, value: str) -> Planes:
    """The layout of a value that lies in planes."""
    layout = lowering.layout(value)
    assert isinstance(layout, Planes)
    return layout
