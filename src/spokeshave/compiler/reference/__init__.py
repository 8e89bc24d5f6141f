"""Runs operations with PyTorch: the oracle of every pass and kernel, and the fallback at run time."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from spokeshave.compiler.count import at_lengths
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.operations import (
    Dequantize,
    Foreign,
    Lookup,
    Operation,
    Quantize,
    Quantized,
    QuantizedAttention,
    QuantizedMatMul,
    QuantizedMean,
    QuantizedNorm,
    QuantizedRecurrent,
    QuantizedSelected,
    QuantizedSoftmax,
    QuantizedSum,
    SelectTokens,
    WholeRecurrent,
)
from spokeshave.compiler.quantization.arithmetic import dequantize, quantize
from spokeshave.compiler.quantization.executor import (
    run_lookup,
    run_mean,
    run_quantized,
    run_quantized_recurrent,
    run_quantized_selected,
    run_sum,
)
from spokeshave.compiler.quantization.transformers import run_matmul, run_norm, run_softmax
from spokeshave.compiler.quantization.whole_attention import run_quantized_attention
from spokeshave.compiler.quantization.whole_recurrent import run_whole_recurrent
from spokeshave.compiler.reference import bfloat16, elementwise, layers, moves, products, reduction, tokens
from spokeshave.compiler.reference.foreign import run_foreign
from spokeshave.compiler.reference.runner import Runner, Weights

__all__ = ["RUNNERS", "run_foreign", "run_operation", "run_reference", "run_values"]

RUNNERS: Mapping[type, Runner] = {
    **layers.RUNNERS,
    **reduction.RUNNERS,
    **elementwise.RUNNERS,
    **moves.RUNNERS,
    **tokens.RUNNERS,
    **bfloat16.RUNNERS,
    **products.RUNNERS,
    Quantize: lambda op, inputs, weights, shape: quantize(inputs[0], op.quantization),
    Dequantize: lambda op, inputs, weights, shape: dequantize(inputs[0], op.quantization),
    QuantizedSum: lambda op, inputs, weights, shape: run_sum(op, *inputs),
    QuantizedMean: lambda op, inputs, weights, shape: run_mean(op, *inputs),
    QuantizedAttention: lambda op, inputs, weights, shape: run_quantized_attention(
        op, weights, inputs, shape
    ),
    Lookup: lambda op, inputs, weights, shape: run_lookup(op, weights, *inputs),
    QuantizedMatMul: lambda op, inputs, weights, shape: run_matmul(op, *inputs),
    QuantizedNorm: lambda op, inputs, weights, shape: run_norm(op, weights, *inputs),
    QuantizedSoftmax: lambda op, inputs, weights, shape: run_softmax(op, weights, *inputs),
    Quantized: lambda op, inputs, weights, shape: run_quantized(op, weights, *inputs),
    QuantizedSelected: lambda op, inputs, weights, shape: run_quantized_selected(op, weights, *inputs),
    QuantizedRecurrent: lambda op, inputs, weights, shape: run_quantized_recurrent(op, weights, inputs),
    WholeRecurrent: lambda op, inputs, weights, shape: run_whole_recurrent(op, weights, inputs),
}


def run_reference(graph: Graph, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Run a graph node by node and return its outputs; a batch runs sample by sample and is joined at the end."""
    samples = len(inputs[0]) if inputs else 1
    if samples == 1:
        return _run_sample(graph, inputs)
    rows = [_run_sample(graph, [tensor[i : i + 1] for tensor in inputs]) for i in range(samples)]
    return [
        graph.weights[name] if name in graph.weights else torch.cat(row)
        for name, row in zip(graph.outputs, zip(*rows, strict=True), strict=True)
    ]


def _run_sample(graph: Graph, inputs: Sequence[Tensor]) -> list[Tensor]:
    values = run_values(graph, inputs)
    return [values[name] if name in values else graph.weights[name] for name in graph.outputs]


def run_values(graph: Graph, sample: Sequence[Tensor]) -> dict[str, Tensor]:
    """Every value of a graph on one sample; what selectors leave are the lengths of values behind them."""
    values, lengths = dict(zip(graph.inputs, sample, strict=True)), dict[int, int]()
    for node in graph.nodes:
        operation, shape = node.operation, graph.shape(node.outputs[0])
        if not isinstance(operation, SelectTokens):
            shape = at_lengths(shape, lengths)
        operands = [values[name] for name in node.inputs]
        results = run_operation(operation, operands, graph.weights, shape, values)
        values.update(zip(node.outputs, results, strict=True))
        if isinstance(operation, SelectTokens) and operation.length is not None:
            lengths[operation.length] = results[0].shape[1]
    return values


def run_operation(
    operation: Operation,
    inputs: Sequence[Tensor],
    weights: Weights,
    shape: tuple[int, ...],
    values: Mapping[str, Tensor],
) -> list[Tensor]:
    """Run one operation for one sample; `shape` is its output's, `values` holds what a foreign operator names."""
    if isinstance(operation, Foreign):
        return run_foreign(operation, values, weights)
    result = RUNNERS[type(operation)](operation, list(inputs), weights, shape)
    return [result] if isinstance(result, Tensor) else list(result)
