"""Lowers integer layers, and the conversions between float32 and uint8."""

from typing import Literal

import numpy as np

from spokeshave.compiler.emit.literals import requantization_literal
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.quantized_rows import dequantize_rows, quantize_rows, quantized_rows
from spokeshave.compiler.emit.words import planes_of, word_panels
from spokeshave.compiler.graph import Node
from spokeshave.compiler.kernels.instances import IntegerPanelKernel
from spokeshave.compiler.kernels.words import PER_WORD
from spokeshave.compiler.layout import Flat
from spokeshave.compiler.operations import (
    Convolution,
    Dequantize,
    Operation,
    Quantize,
    Quantized,
    QuantizedPool,
)
from spokeshave.compiler.quantization.arithmetic import (
    LEVELS,
    Requantization,
    conversion,
    requantization,
)
from spokeshave.compiler.quantization.curves import Curve, curve_of


def lower_quantize(lowering: Lowering, node: Node) -> None:
    """float32 -> uint8, unless what makes the floats has done it; from where the caller has them if nothing else reads
    them."""
    operation = node.operation
    assert isinstance(operation, Quantize)
    if node.output in lowering.made:
        return
    if isinstance(lowering.layout(node.output), Flat):
        quantize_rows(lowering, node)
        return
    read, output = planes_of(lowering, node.inputs[0]), lowering.place(node.output)
    given = lowering.ports.get(node.inputs[0])
    numbers = requantization_literal(conversion(operation.quantization))
    prepare_gaps(lowering, node)
    if given is None:
        extent = lowering.extent(read)
        lowering.call("quantize_planes", lowering.place(node.inputs[0]), output, *extent, numbers)
    elif read.tokens:
        tokens = read.channels, read.width, read.plane, read.lanes
        lowering.call("quantize_tokens", given, output, *tokens, numbers)
    else:
        rows = read.plane, read.pitch, read.lanes, lowering.mask(read)
        lowering.call("quantize_map", given, output, *read.shape, *rows, numbers)


def lower_dequantize(lowering: Lowering, node: Node) -> None:
    """uint8 -> float32."""
    operation = node.operation
    assert isinstance(operation, Dequantize)
    if isinstance(lowering.layout(node.output), Flat):
        dequantize_rows(lowering, node)
        return
    lowering.call(
        "dequantize_planes",
        lowering.place(node.inputs[0]),
        lowering.place(node.output),
        *lowering.extent(planes_of(lowering, node.output)),
        np.float32(operation.quantization.scale).item(),
        float(operation.quantization.zero_point),
    )


def lower_quantized(lowering: Lowering, node: Node) -> None:
    """A convolution over positions, or a linear layer over tokens or rows."""
    operation = node.operation
    assert isinstance(operation, Quantized)
    layer, after = operation.layer, _requantization(lowering, operation)
    if isinstance(lowering.layout(node.output), Flat):
        quantized_rows(lowering, node, operation, after, _residual_type(operation))
        return
    weight = lowering.graph.weights[operation.weight].numpy()
    target, residual_unit = (PER_WORD if range_ else 1 for range_ in (operation.output, operation.residual))
    zero_byte, unit = operation.input.zero_point, max(target, residual_unit)
    packed, source = word_panels(lowering, node, layer, weight, unit, zero_byte)
    prepare_gaps(lowering, node)
    written, output = planes_of(lowering, node.output), lowering.place(node.output)
    schedule, curve = packed.schedule, _curve(lowering, operation, after)
    if curve is not None:
        after = curve.requantization(after)
    kernel = IntegerPanelKernel(
        schedule.rows,
        schedule.vectors,
        _residual_type(operation),
        after.activation,
        operation.output is not None,
        schedule.amx,
        schedule.left,
        schedule.changes,
        curve is not None,
    )
    lowering.call_kernel(
        kernel,
        *packed.weights,
        *(packed.per_row(values.numpy()) for values in (after.start, after.scale, after.shift)),
        packed.targets(target, written),
        packed.targets(residual_unit, written),
        *packed.extent(written),
        source,
        output,
        lowering.residual(node.inputs[1]) if layer.residual else output,
        requantization_literal(after),
        *([] if curve is None else [lowering.constant(curve.table)]),
        *packed.in_tiles,
        schedule=schedule,
    )


def _curve(lowering: Lowering, operation: Quantized, after: Requantization) -> Curve | None:
    """What stands for the layer's activation where the instruction set looks words up and no place overflows."""
    if not lowering.isa.looks_up_words or operation.output is None or operation.layer.residual:
        return None
    curve = curve_of(operation.layer.activation, operation.output)
    most = lowering.graph.weights[operation.weight].flatten(1).abs().long().sum(1) * LEVELS
    return curve if curve is not None and curve.holds(after, most) else None


def _residual_type(operation: Quantized) -> Literal["uint8", "float32"] | None:
    if not operation.layer.residual:
        return None
    return "uint8" if operation.residual else "float32"


def zero_point(operation: Operation) -> int:
    """The zero point of what an operation makes; 0 for float32."""
    if isinstance(operation, Quantize | QuantizedPool):
        return operation.quantization.zero_point
    return operation.output.zero_point if isinstance(operation, Quantized) and operation.output else 0


def prepare_gaps(lowering: Lowering, node: Node) -> None:
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
