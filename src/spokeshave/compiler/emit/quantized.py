"""Lowers integer layers, and the conversions between float32 and uint8."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.matrix import column_offsets, phases
from spokeshave.compiler.emit.program import Argument, Place
from spokeshave.compiler.emit.taps import taps
from spokeshave.compiler.graph import Node
from spokeshave.compiler.kernels.activations import float_literal
from spokeshave.compiler.kernels.instances import IntegerPanelKernel
from spokeshave.compiler.kernels.packing import Panels, padded
from spokeshave.compiler.kernels.words import pack_word_panels, whole_words, word_matrix
from spokeshave.compiler.layout import CHANNELS_PER_WORD, FLOAT_BYTES, Planes
from spokeshave.compiler.operations import Convolution, Dequantize, Operation, Quantize, Quantized
from spokeshave.compiler.quantization.arithmetic import Requantization, conversion, requantization
from spokeshave.compiler.schedule import Product

PER_WORD = CHANNELS_PER_WORD["uint8"]


def lower_quantize(lowering: Lowering, node: Node) -> None:
    """float32 planes -> uint8 planes."""
    operation = node.operation
    assert isinstance(operation, Quantize)
    read = _planes(lowering, node.inputs[0])
    _prepare_gaps(lowering, node)
    lowering.call(
        "quantize_planes",
        lowering.place(node.inputs[0]),
        lowering.place(node.output),
        *lowering.extent(read),
        _literal(conversion(operation.quantization)),
    )


def lower_dequantize(lowering: Lowering, node: Node) -> None:
    """uint8 planes -> float32 planes."""
    operation = node.operation
    assert isinstance(operation, Dequantize)
    lowering.call(
        "dequantize_planes",
        lowering.place(node.inputs[0]),
        lowering.place(node.output),
        *lowering.extent(_planes(lowering, node.output)),
        np.float32(operation.quantization.scale).item(),
        float(operation.quantization.zero_point),
    )


def lower_quantized(lowering: Lowering, node: Node) -> None:
    """A convolution over positions, or a linear layer over tokens."""
    operation = node.operation
    assert isinstance(operation, Quantized)
    layer, written = operation.layer, _planes(lowering, node.output)
    weight = lowering.graph.weights[layer.weight]
    if isinstance(layer, Convolution):
        all_taps = taps(layer, (weight.shape[2], weight.shape[3]))
        source, read = phases(lowering, layer, node.inputs[0], written, all_taps, operation.input.zero_point)
        channels = _planes(lowering, node.inputs[0]).channels
        offsets = column_offsets(all_taps, channels, read, channels)
        groups = layer.groups
    else:
        read = _planes(lowering, node.inputs[0])
        source, groups, offsets = lowering.place(node.inputs[0]), 1, np.arange(read.channels) * read.plane
    matrix = word_matrix(weight.numpy(), groups, PER_WORD)
    _prepare_gaps(lowering, node)
    _Call(lowering, node, operation, _requantization(lowering, operation)).append(
        matrix, source, offsets, read
    )


@dataclass(frozen=True)
class _Call:
    """One call of an integer panel kernel."""

    lowering: Lowering
    node: Node
    operation: Quantized
    after: Requantization

    def append(self, matrix: np.ndarray, source: Place, offsets: np.ndarray, read: Planes) -> None:
        lowering, isa = self.lowering, self.lowering.isa
        target, residual_unit = (
            PER_WORD if quantization else 1
            for quantization in (self.operation.output, self.operation.residual)
        )
        unit = max(target, residual_unit)
        written, output = _planes(lowering, self.node.output), lowering.place(self.node.output)
        residual = lowering.place(self.node.inputs[1]) if self.operation.layer.residual else output
        vectors = written.lanes // isa.lanes
        matrix = whole_words(matrix, unit)
        product = Product(matrix != 0, 1, (), read.channels, vectors, "uint8", unit)
        schedule = lowering.choose(product)
        order = product.order if schedule.reordered else np.arange(len(matrix))
        panels = pack_word_panels(matrix, schedule.rows, unit, order)
        lowering.call_kernel(
            IntegerPanelKernel(
                schedule.rows,
                schedule.vectors,
                self._residual_type,
                self.after.activation,
                self.operation.output is not None,
            ),
            lowering.constant(padded(offsets[panels.columns] * FLOAT_BYTES)),
            lowering.constant(panels.column_start),
            lowering.constant(panels.weights),
            *(
                self._per_row(panels, values)
                for values in (self.after.start, self.after.scale, self.after.shift)
            ),
            self._targets(panels, target, written),
            self._targets(panels, residual_unit, written),
            lowering.mask(written),
            panels.count,
            vectors,
            schedule.chunk,
            int(schedule.by_lanes),
            source,
            output,
            residual,
            _literal(self.after),
            schedule=schedule,
        )

    @property
    def _residual_type(self) -> Literal["uint8", "float32"] | None:
        if not self.operation.layer.residual:
            return None
        return "uint8" if self.operation.residual else "float32"

    def _per_row(self, panels: Panels, values: Tensor) -> Argument:
        """Numbers of the rows in the panels' order; rows that only fill a word have 0."""
        rows = np.zeros(int(panels.row_numbers.max(initial=0)) + 1, values.numpy().dtype)
        rows[: len(values)] = values.numpy()
        return self.lowering.constant(rows[panels.row_numbers])

    def _targets(self, panels: Panels, unit: int, planes: Planes) -> Argument:
        """Offset of the word of planes that holds each `unit` rows."""
        rows = panels.row_numbers[::unit] // unit
        real = -(-self.after.scale.numel() // unit)  # rows that only fill a word go to the spare plane
        return self.lowering.constant((np.minimum(rows, real) * planes.plane).astype(np.int32))


def zero_point(operation: Operation) -> int:
    """The zero point of what an operation makes; 0 for float32."""
    if isinstance(operation, Quantize):
        return operation.quantization.zero_point
    return operation.output.zero_point if isinstance(operation, Quantized) and operation.output else 0


def _prepare_gaps(lowering: Lowering, node: Node) -> None:
    """Margins that a padded convolution will read hold the zero point; the kernel writes the gaps between rows."""
    lowering.place(node.output)
    if any(_reads_margins(reader, node.output) for reader in lowering.graph.nodes):
        lowering.fill_gaps(node.output, zero_point(node.operation))


def _reads_margins(reader: Node, value: str) -> bool:
    layer = reader.operation.layer if isinstance(reader.operation, Quantized) else None
    return (
        isinstance(layer, Convolution)
        and reader.inputs[0] == value
        and layer.stride == (1, 1)
        and any(layer.padding)
    )


def _requantization(lowering: Lowering, operation: Quantized) -> Requantization:
    weights = lowering.graph.weights
    bias = weights[operation.bias] if operation.bias else None
    return requantization(operation, weights[operation.weight], weights[operation.weight_scale], bias)


def _literal(after: Requantization) -> str:
    """The C literal of a `requantization`."""
    numbers = (after.residual_scale, after.inverse, after.zero_point, after.low, after.high)
    floats = ", ".join(float_literal(np.float32(number).item()) for number in numbers)
    gap = int.from_bytes(bytes([after.zero_point] * PER_WORD), "little", signed=True)
    return f"(requantization){{{floats}, {gap}}}"


def _planes(lowering: Lowering, value: str) -> Planes:
    layout = lowering.layout(value)
    assert isinstance(layout, Planes)
    return layout
