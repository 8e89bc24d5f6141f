"""Lowers integer linear layers over a single position, or rows of a sequence, and the conversions of such rows."""

from math import prod
from typing import Literal

import numpy as np

from spokeshave.compiler.emit.literals import requantization_literal
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import GROUP
from spokeshave.compiler.emit.vectors import pack_integer_vectors
from spokeshave.compiler.graph import Node
from spokeshave.compiler.layout import FLOAT_BYTES, Flat, words
from spokeshave.compiler.operations import Dequantize, Quantize, Quantized
from spokeshave.compiler.quantization.arithmetic import Requantization, conversion


def row_stride(channels: int, dtype: str) -> int:
    """From a row to the next, in elements."""
    return words(channels, "uint8") * FLOAT_BYTES if dtype == "uint8" else channels


def quantize_rows(lowering: Lowering, node: Node) -> None:
    """float32 rows -> uint8 rows."""
    operation = node.operation
    assert isinstance(operation, Quantize)
    sizes = _sizes(lowering, node.inputs[0])
    strides = [row_stride(sizes[1], dtype) for dtype in ("float32", "uint8")]
    places = [lowering.place(name) for name in (node.inputs[0], node.output)]
    lowering.call(
        "quantize_rows",
        *places,
        *sizes,
        *strides,
        requantization_literal(conversion(operation.quantization)),
    )


def dequantize_rows(lowering: Lowering, node: Node) -> None:
    """uint8 rows -> float32 rows."""
    operation = node.operation
    assert isinstance(operation, Dequantize)
    sizes = _sizes(lowering, node.output)
    strides = [row_stride(sizes[1], dtype) for dtype in ("uint8", "float32")]
    numbers = np.float32(operation.quantization.scale).item(), float(operation.quantization.zero_point)
    places = [lowering.place(name) for name in (node.inputs[0], node.output)]
    lowering.call("dequantize_rows", *places, *sizes, *strides, *numbers)


def _sizes(lowering: Lowering, value: str) -> tuple[int, int]:
    """Rows and columns of a float32 value."""
    shape = lowering.layout(value).shape
    return prod(shape[:-1]), shape[-1]


def quantized_rows(
    lowering: Lowering,
    node: Node,
    operation: Quantized,
    after: Requantization,
    residual: Literal["uint8", "float32"] | None,
) -> None:
    """A linear layer over rows."""
    weight = lowering.graph.weights[operation.weight].numpy()
    rows, columns = weight.shape
    integer = operation.output is not None
    product = pack_integer_vectors(
        lowering,
        weight,
        after,
        residual=residual,
        activation=after.activation,
        integer_output=integer,
    )
    read, output = lowering.layout(node.inputs[0]), lowering.place(node.output)
    assert isinstance(read, Flat)
    vectors = prod(read.shape[:-1])
    stride = row_stride if vectors > 1 else _to_next_sample
    lowering.call_kernel(
        product.kernel,
        *product.constants,
        rows,
        vectors if vectors > 1 else GROUP[0],
        0,
        lowering.place(node.inputs[0]),
        stride(columns, "uint8"),
        output,
        stride(rows, "uint8" if integer else "float32"),
        lowering.place(node.inputs[1]) if residual else output,
        stride(rows, residual or "float32"),
        requantization_literal(after),
    )


def _to_next_sample(_: int, dtype: str) -> str:
    """From a sample's only row to that of the next one of its group, in elements."""
    return f"{FLOAT_BYTES} * {GROUP[1]}" if dtype == "uint8" else GROUP[1]
