"""How large sums can become, from the ranges of values and the weights: overflow is found before it happens."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.integers.grids import averaged
from spokeshave.compiler.integers.recurrent import each_product
from spokeshave.compiler.operations import (
    Quantization,
    Quantized,
    QuantizedAttention,
    QuantizedMatMul,
    QuantizedMean,
    QuantizedSum,
    Rescale,
)
from spokeshave.errors import SpokeshaveError

PRODUCT_BITS = 63  # of the executor's int64


@dataclass(frozen=True)
class AccumulatorRange:
    """The least and greatest number that a layer's sums can reach on the way, whatever the order of the additions."""

    layer: str
    low: int
    high: int

    @property
    def bits(self) -> int:
        """Bits of the signed accumulator that holds them.

        >>> [AccumulatorRange("", low, high).bits for low, high in ((-8, 7), (-9, 7), (0, 8))]
        [4, 5, 5]
        """
        return 1 + max(self.high.bit_length(), (-self.low - 1).bit_length() if self.low < 0 else 0)


def accumulator_ranges(graph: Graph) -> list[AccumulatorRange]:
    """Of every layer and sum in whole numbers, in order."""
    return [found for node in each_product(graph) if (found := _range(graph, node)) is not None]


def check_accumulators(graph: Graph, bits: int) -> None:
    """Raise SpokeshaveError where sums may overflow accumulators of so many bits."""
    for node in each_product(graph):
        found = _range(graph, node)
        if found is not None and found.bits > bits:
            raise SpokeshaveError(
                f"{found.layer}: its sums can reach from {found.low:,} to {found.high:,}, which takes "
                f"{found.bits} bits; accumulators have {bits}: give weights or values fewer bits"
            )
        if isinstance(node.operation, Quantized) and node.operation.rescale is not None and found is not None:
            _check_products(graph, node.operation, node.operation.rescale, found, bits)


def _range(graph: Graph, node: Node) -> AccumulatorRange | None:
    operation = node.operation
    if isinstance(operation, Quantized):
        low, high = _layer_range(graph, operation)
    elif isinstance(operation, QuantizedMatMul):
        count = int(graph.shape(node.inputs[0])[-1])
        low, high = (count * end for end in _product_ends(operation.first, operation.second))
    elif isinstance(operation, QuantizedAttention):
        low, high = _attention_range(graph, node, operation)
    elif isinstance(operation, QuantizedMean):
        of, count = operation.input, averaged(graph, _as_averaged(node, operation))
        low, high = (of.low - of.zero_point) * count, (of.high - of.zero_point) * count
    elif isinstance(operation, QuantizedSum) and operation.steps is not None:
        reach = sum(max(of.high - of.zero_point, of.zero_point - of.low) for of in operation.inputs)
        high = reach << operation.steps.headroom  # factors are at most a half, and there are two
        low = -high
    elif isinstance(operation, QuantizedSum) and operation.shift is not None:
        spans = [
            sorted((int(multiplier) * (of.low - of.zero_point), int(multiplier) * (of.high - of.zero_point)))
            for of, multiplier in zip(operation.inputs, operation.multipliers, strict=True)
        ]
        low, high = sum(span[0] for span in spans), sum(span[1] for span in spans)
        low, high = low >> operation.shift, high >> operation.shift
    else:
        return None
    return AccumulatorRange(node.layer, int(low), int(high))


def _attention_range(graph: Graph, node: Node, operation: QuantizedAttention) -> tuple[int, int]:
    """Of both products: over the channels of a head, and over the keys of a window."""
    query, key, value = operation.inputs
    how, (_, keys, width) = operation.attention, graph.shape(node.inputs[1])
    scores, weighed = _product_ends(query, key), _product_ends(operation.probability, value)
    counts = width // how.key_heads, keys // how.windows
    low, high = zip(
        *((count * a, count * b) for count, (a, b) in zip(counts, (scores, weighed), strict=True)),
        strict=True,
    )
    return int(min(low)), int(max(high))


def _product_ends(first: Quantization, second: Quantization) -> tuple[int, int]:
    """The least and greatest product of two values, zero among them."""
    spans = [(of.low - of.zero_point, of.high - of.zero_point) for of in (first, second)]
    ends = [a * b for a in spans[0] for b in spans[1]]
    return min(0, *ends), max(0, *ends)


def _as_averaged(node: Node, operation: QuantizedMean) -> Node:
    return Node(node.layer, operation.operation, node.inputs, node.outputs)


def _layer_range(graph: Graph, operation: Quantized) -> tuple[int, int]:
    low, high = _row_ranges(graph, operation)
    return int(low.min()), int(high.max())


def _row_ranges(graph: Graph, operation: Quantized) -> tuple[Tensor, Tensor]:
    """The least and greatest sum of each row, int64, zero and bias included."""
    weight, of = graph.weights[operation.weight].flatten(1).long(), operation.input
    ends = weight * (of.low - of.zero_point), weight * (of.high - of.zero_point)
    low = torch.minimum(*ends).clamp(max=0).sum(1)
    high = torch.maximum(*ends).clamp(min=0).sum(1)
    if operation.rescale is not None and operation.rescale.bias is not None:
        bias = graph.weights[operation.rescale.bias]
        low, high = low + bias.clamp(max=0), high + bias.clamp(min=0)
    return low, high


def _check_products(
    graph: Graph, operation: Quantized, rescale: Rescale, found: AccumulatorRange, bits: int
) -> None:
    """What follows the sums: 63 bits for multiplied sums, the accumulator's own where only shifts are needed."""
    low, high = _row_ranges(graph, operation)
    multiplier, shift = graph.weights[rescale.multiplier], graph.weights[rescale.shift]
    largest = torch.maximum(-low, high).double() * multiplier
    if rescale.residual is not None and operation.residual is not None:
        of = operation.residual
        reach = max(of.high - of.zero_point, of.zero_point - of.low)
        largest = largest + reach * graph.weights[rescale.residual].double()
    largest = largest + torch.ldexp(torch.ones_like(largest), shift - 1)
    by_shift = bool(((multiplier & (multiplier - 1)) == 0).all())
    allowed, needed = (bits if by_shift else PRODUCT_BITS), 1 + float(largest.amax().log2())
    if needed > allowed:
        raise SpokeshaveError(
            f"{found.layer}: its sums, brought to the scale of what is added, take {needed:.1f} bits of {allowed}: "
            "give weights or values fewer bits"
        )
