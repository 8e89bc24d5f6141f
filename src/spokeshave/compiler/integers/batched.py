"""A graph run by PyTorch on whole batches: operations that keep samples apart by themselves take a batch at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spokeshave.compiler.graph import Graph
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
from spokeshave.compiler.reference import run_operation

TAKES_BATCHES = (
    *(Activate, Affine, Binary, Concatenate, Convolution, Dequantize, Expand, GroupNorm, LayerNorm, Linear),
    *(Lookup, MatMul, Mean, Pad, Patches, Permute, Pool, Quantize, Quantized, QuantizedMean, QuantizedPool),
    *(QuantizedSum, Reshape, RMSNorm, Slice, Softmax, Sum, Take),
)


def run_batch(graph: Graph, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The graph's outputs on a batch, samples along axis 0; bit for bit those of `run_reference` in integers."""
    values = batch_values(graph, inputs)
    return [values[name] if name in values else graph.weights[name] for name in graph.outputs]


def batch_values(graph: Graph, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Every value of a graph on a batch."""
    values, samples = dict(zip(graph.inputs, inputs, strict=True)), len(inputs[0])
    for node in graph.nodes:
        operands, shape = [values[name] for name in node.inputs], graph.shape(node.outputs[0])
        if isinstance(node.operation, TAKES_BATCHES):
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
