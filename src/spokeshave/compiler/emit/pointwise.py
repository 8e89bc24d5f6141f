"""Lowers element-wise operations."""

import numpy as np

from spokeshave.compiler.broadcast import meets, per_channel
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.program import Argument, Constant
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.layout import Flat, Layout, Planes
from spokeshave.compiler.operations import Activate, Affine, Binary

REVERSIBLE = {
    "subtract": "subtract_reversed",
    "divide": "divide_reversed",
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}


def lower_activate(lowering: Lowering, node: Node) -> None:
    """An activation from one buffer to another."""
    operation = node.operation
    assert isinstance(operation, Activate)
    lowering.pointwise(operation.activation, node.inputs[0], node.output)


def lower_affine(lowering: Lowering, node: Node) -> None:
    """Scale and shift per channel."""
    operation = node.operation
    assert isinstance(operation, Affine)
    scale, shift = (lowering.weight(name).reshape(-1) for name in (operation.scale, operation.shift))
    source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
    layout = lowering.layout(node.output)
    if isinstance(layout, Flat):
        lowering.call(
            "multiply_values",
            source,
            _flat_constant(lowering, scale, layout),
            output,
            *_flat(lowering, layout),
        )
        lowering.call(
            "add_values", output, _flat_constant(lowering, shift, layout), output, *_flat(lowering, layout)
        )
    else:
        arguments = (lowering.constant(scale), lowering.constant(shift))
        lowering.call("affine", source, *arguments, output, *lowering.extent(layout))
    if operation.activation:
        lowering.pointwise(operation.activation, node.output, node.output)


def lower_binary(lowering: Lowering, node: Node) -> None:
    """Second operand: a value of the same layout, one number per channel, or a constant."""
    operation = node.operation
    assert isinstance(operation, Binary)
    first, second = _ordered(lowering.graph, node)
    reverse = operation.reverse or first != node.inputs[0]
    function = REVERSIBLE.get(operation.kind, operation.kind) if reverse else operation.kind
    layout = lowering.layout(node.output)
    if operation.constant is not None:
        _with_constant(lowering, function, node, lowering.weight(operation.constant))
    elif not per_channel(lowering.graph.shape(node.output), lowering.graph.shape(second)):
        whole = lowering.graph.shape(second) == lowering.graph.shape(node.output)
        stride = layout.plane if whole and isinstance(layout, Planes) else 0
        _values(lowering, function, first, lowering.place(second), stride, node.output)
    else:
        source, output = lowering.place(first), lowering.place(node.output)
        lowering.call(
            f"{function}_channels", source, lowering.place(second), output, *lowering.extent(layout)
        )
    if operation.activation:
        lowering.pointwise(operation.activation, node.output, node.output)


def binary_reason(graph: Graph, node: Node) -> str | None:
    """Why a broadcast has no kernel, or None."""
    operation = node.operation
    assert isinstance(operation, Binary)
    shape = graph.shape(node.output)
    if operation.constant is not None:
        full = np.broadcast_shapes(
            tuple(graph.weights[operation.constant].shape), graph.shape(node.inputs[0])
        )
        return None if full == shape == graph.shape(node.inputs[0]) else "this broadcast has no kernel"
    first, second = _ordered(graph, node)
    if graph.shape(first) == shape and meets(shape, graph.shape(second)):
        return None
    return f"broadcasting {graph.shape(first)} with {graph.shape(second)} has no kernel"


def _ordered(graph: Graph, node: Node) -> tuple[str, str]:
    """The operand with the output's shape first."""
    if len(node.inputs) == 1:
        return node.inputs[0], node.inputs[0]
    first, second = node.inputs
    if graph.shape(first) != graph.shape(node.output):
        first, second = second, first
    return first, second


def _with_constant(lowering: Lowering, function: str, node: Node, constant: np.ndarray) -> None:
    layout = lowering.layout(node.output)
    sample = np.broadcast_to(constant, lowering.graph.shape(node.output))[0]
    if isinstance(layout, Planes):
        axes = (0,) if layout.tokens else (1, 2)
        least_and_most = sample.min(axis=axes), sample.max(axis=axes)
        if np.array_equal(*least_and_most):
            source, output = lowering.place(node.inputs[0]), lowering.place(node.output)
            channels = lowering.constant(least_and_most[0])
            lowering.call(f"{function}_channels", source, channels, output, *lowering.extent(layout))
            return
        stride = int(layout.lanes)
    else:
        stride = 0
    values = lowering.constant(_constant_values(sample, layout))
    _values(lowering, function, node.inputs[0], values, stride, node.output)


def _constant_values(sample: np.ndarray, layout: Layout) -> np.ndarray:
    """A constant as the kernels read it: `[channels, lanes]` on planes, rounded up to whole vectors when flat."""
    sample = np.broadcast_to(sample, layout.shape)
    if isinstance(layout, Flat):
        values = np.ones(layout.floats, np.float32)
        values[: sample.size] = sample.reshape(-1)
        return values
    maps = sample.T[:, None, :] if layout.tokens else sample
    values = np.ones((layout.channels, layout.lanes), np.float32)
    rows = values[:, : layout.height * layout.pitch].reshape(layout.channels, layout.height, layout.pitch)
    rows[:, :, : layout.width] = maps
    return values


def _flat_constant(lowering: Lowering, values: np.ndarray, layout: Flat) -> Constant:
    per_channel = values.reshape(-1, *(1 for _ in layout.shape[1:]))
    return lowering.constant(_constant_values(per_channel, layout))


def _flat(lowering: Lowering, layout: Flat) -> tuple[Argument, ...]:
    channels, plane, lanes, mask = lowering.extent(layout)
    return channels, plane, 0, lanes, mask


def _values(
    lowering: Lowering, function: str, first: str, second: Argument, stride: int, output: str
) -> None:
    channels, plane, lanes, mask = lowering.extent(lowering.layout(output))
    source, target = lowering.place(first), lowering.place(output)
    lowering.call(f"{function}_values", source, second, target, channels, plane, stride, lanes, mask)
