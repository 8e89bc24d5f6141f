"""A graph run by PyTorch on whole batches: operations that keep samples apart by themselves take a batch at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import (
    Activate,
    Affine,
    Binary,
    Concatenate,
    Convolution,
    Dequantize,
    Expand,
    GroupNorm,
    LayerNorm,
    Linear,
    Lookup,
    MatMul,
    Mean,
    Pad,
    Patches,
    Permute,
    Pool,
    Quantize,
    Quantized,
    QuantizedMean,
    QuantizedPool,
    QuantizedSum,
    Reshape,
    RMSNorm,
    Slice,
    Softmax,
    Sum,
    Take,
)
from spokeshave.compiler.quantization.executor import after_sums
from spokeshave.compiler.reference import run_operation

Products = Callable[[Node, Tensor], Tensor]

TAKES_BATCHES = (
    *(Activate, Affine, Binary, Concatenate, Convolution, Dequantize, Expand, GroupNorm, LayerNorm, Linear),
    *(Lookup, MatMul, Mean, Pad, Patches, Permute, Pool, Quantize, Quantized, QuantizedMean, QuantizedPool),
    *(QuantizedSum, Reshape, RMSNorm, Slice, Softmax, Sum, Take),
)


def run_batch(graph: Graph, inputs: Sequence[Tensor], products: Products | None = None) -> list[Tensor]:
    """The graph's outputs on a batch, samples along axis 0; bit for bit those of `run_reference` in integers.

    `products(node, x)` makes the sums of a layer in integers, zero points taken off, in the way of a device of its own.
    """
    values = batch_values(graph, inputs, products)
    return [values[name] if name in values else graph.weights[name] for name in graph.outputs]


def batch_values(
    graph: Graph, inputs: Sequence[Tensor], products: Products | None = None
) -> dict[str, Tensor]:
    """Every value of a graph on a batch."""
    values, samples = dict(zip(graph.inputs, inputs, strict=True)), len(inputs[0])
    for node in graph.nodes:
        operands, shape = [values[name] for name in node.inputs], graph.shape(node.outputs[0])
        if products is not None and isinstance(node.operation, Quantized):
            sums = products(node, operands[0])
            results = [after_sums(node.operation, graph.weights, sums, *operands[1:])]
        elif isinstance(node.operation, TAKES_BATCHES):
            shape = (samples, *shape[1:])
            results = run_operation(node.operation, operands, graph.weights, shape, values)
        else:
            rows = [
                run_operation(
                    node.operation,
                    [x[i : i + 1] for x in operands],
                    graph.weights,
                    shape,
                    {name: values[name][i : i + 1] for name in node.inputs},
                )
                for i in range(samples)
            ]
            results = [torch.cat(row) for row in zip(*rows, strict=True)]
        values.update(zip(node.outputs, results, strict=True))
    return values
