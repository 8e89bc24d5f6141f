"""Fake quantization: a graph in whole numbers, run with real numbers in float64 that are rounded to the levels."""

import torch.nn.functional as F

from spokeshave.compiler.activation import activate
from spokeshave.compiler.operations import (
    Convolution,
    Dequantize,
    Linear,
    Mean,
    Quantize,
    Quantized,
    QuantizedMean,
    QuantizedPool,
    QuantizedSum,
)
from spokeshave.compiler.reference import run_operation


def run_fake(graph, x):
    """Every value as a real number; halves are rounded up, those of the input to even."""
    values = {graph.inputs[0]: x.double()}
    for node in graph.nodes:
        read = [values[name] for name in node.inputs]
        values[node.output] = _run(node, read, graph)
    return values


def _run(node, read, graph):
    operation, weights = node.operation, graph.weights
    if isinstance(operation, Quantize):
        of = operation.quantization
        return (read[0] / of.scale).round().clamp(of.low, of.high) * of.scale
    if isinstance(operation, Dequantize):
        return read[0]
    if isinstance(operation, Quantized):
        return _layer(operation, weights, *read)
    if isinstance(operation, QuantizedSum):
        signs = [1.0 if multiplier > 0 else -1.0 for multiplier in operation.multipliers]
        total = sum(sign * value for sign, value in zip(signs, read, strict=True))
        return _rounded(activate(operation.activation, total), operation.output)
    if isinstance(operation, QuantizedMean):
        how = operation.operation
        if isinstance(how, Mean):
            return _rounded(read[0].mean(how.axes, how.keep), operation.output)
        return _rounded(F.avg_pool2d(read[0], how.kernel, how.stride, how.padding[:2]), operation.output)
    if isinstance(operation, QuantizedPool):
        operation = operation.pool
    return run_operation(operation, read, weights, (len(read[0]), *graph.shape(node.output)[1:]), {})[0]


def _layer(operation, weights, x, residual=None):
    layer, scale = operation.layer, weights[operation.weight_scale].double()
    rows = (-1, 1, 1) if isinstance(layer, Convolution) else (-1,)
    weight = weights[layer.weight].double() * scale.view(-1, *[1] * (weights[layer.weight].dim() - 1))
    if isinstance(layer, Linear):
        y = F.linear(x, weight)
    else:
        top, left, bottom, right = layer.padding
        x = F.pad(x, (left, right, top, bottom))
        y = F.conv2d(x, weight, None, layer.stride, 0, layer.dilation, layer.groups)
    if operation.rescale.bias:
        y = y + (weights[operation.rescale.bias] * scale * operation.input.scale).view(rows)
    y = y if residual is None else y + residual
    return y if operation.output is None else _rounded(activate(layer.activation, y), operation.output)


def _rounded(y, grid):
    return (y / grid.scale + 0.5).floor().clamp(grid.low, grid.high) * grid.scale
