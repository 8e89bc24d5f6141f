"""A graph run by PyTorch on whole batches: operations that keep samples apart by themselves take a batch at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from spokeshave.compiler import operations
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import (
    Activate,
    Quantize,
    Quantized,
    QuantizedRecurrent,
    WholeRecurrent,
)
from spokeshave.compiler.passes.recognise_signs import SIGN
from spokeshave.compiler.quantization.executor import SumsOf, after_sums, run_quantized_recurrent
from spokeshave.compiler.quantization.whole_recurrent import run_whole_recurrent
from spokeshave.compiler.reference import run_operation
from spokeshave.errors import SpokeshaveError

Products = Callable[[Node, Tensor], Tensor]

TAKES_BATCHES = (
    operations.Activate,
    operations.Affine,
    operations.Binary,
    operations.Concatenate,
    operations.Convolution,
    operations.Dequantize,
    operations.Expand,
    operations.GroupNorm,
    operations.LayerNorm,
    operations.Linear,
    operations.Lookup,
    operations.MatMul,
    operations.Mean,
    operations.Pad,
    operations.Patches,
    operations.Permute,
    operations.Pool,
    operations.Quantize,
    operations.Quantized,
    operations.QuantizedMatMul,
    operations.QuantizedMean,
    operations.QuantizedNorm,
    operations.QuantizedPool,
    operations.QuantizedRecurrent,
    operations.QuantizedSoftmax,
    operations.QuantizedSum,
    operations.RMSNorm,
    operations.Recurrent,
    operations.Reshape,
    operations.Slice,
    operations.Softmax,
    operations.Sum,
    operations.Take,
    operations.Where,
    operations.WholeRecurrent,
)


def run_batch(graph: Graph, inputs: Sequence[Tensor], products: Products | None = None) -> list[Tensor]:
    """The graph's outputs on a batch, samples along axis 0; bit for bit those of `run_reference` in integers.

    `products(node, x)` makes the sums of a layer in integers, zero points taken off, in the way of a device of its own.
    """
    values = batch_values(graph, inputs, products)
    return [values[name] if name in values else graph.weights[name] for name in graph.outputs]


def at_least_one(inputs: Sequence[Tensor], samples: int) -> tuple[Tensor, ...]:
    """The inputs, or a sample of ones where they hold none: it shows the shapes of no samples, and ones are signs."""
    return tuple(inputs) if samples else tuple(tensor.new_ones(1, *tensor.shape[1:]) for tensor in inputs)


def batch_values(
    graph: Graph, inputs: Sequence[Tensor], products: Products | None = None
) -> dict[str, Tensor]:
    """Every value of a graph on a batch."""
    values = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        values.update(zip(node.outputs, run_node(graph, node, values, products), strict=True))
    return values


def run_node(
    graph: Graph, node: Node, values: Mapping[str, Tensor], products: Products | None = None
) -> list[Tensor]:
    """What one node makes of a batch."""
    operation, weights = node.operation, graph.weights
    read, shape = [values[name] for name in node.inputs], graph.shape(node.outputs[0])
    if not read:  # a constant
        samples = len(values[graph.inputs[0]])
        made = run_operation(operation, read, weights, shape, values)
        return [tensor.expand(samples, *shape[1:]) for tensor in made]
    if isinstance(operation, Quantize | QuantizedRecurrent) or operation == Activate(SIGN):
        _check_finite(node.inputs[0], read[0])
    if products is not None and isinstance(operation, Quantized):
        return [after_sums(operation, weights, products(node, read[0]), *read[1:])]
    if products is not None and isinstance(operation, QuantizedRecurrent):
        return run_quantized_recurrent(operation, weights, read, _sums_of(node, products))
    if products is not None and isinstance(operation, WholeRecurrent):
        return run_whole_recurrent(operation, weights, read, _sums_of(node, products))
    if isinstance(operation, TAKES_BATCHES):
        return run_operation(operation, read, weights, (len(read[0]), *shape[1:]), values)
    rows = []
    for sample in range(len(read[0])):
        alone = {name: values[name][sample : sample + 1] for name in node.inputs}
        rows.append(run_operation(operation, [*alone.values()], weights, shape, alone))
    return [torch.cat(row) for row in zip(*rows, strict=True)]


def _check_finite(name: str, value: Tensor) -> None:
    """Raise SpokeshaveError where a value that is rounded to levels has none."""
    if not bool(torch.isfinite(value).all()):
        raise SpokeshaveError(f"{name} holds NaN or infinite numbers, and whole numbers have neither")


def _sums_of(node: Node, products: Products) -> SumsOf:
    """The sums of a recurrent layer's two products by a device of its own."""
    return lambda product, weight: lambda x: products(replace(node, operation=product), x)
