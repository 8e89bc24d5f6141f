"""Lowers recurrent layers: the input's share of all steps as one product, then one kernel over the steps."""

import numpy as np

from spokeshave.compiler.emit.lowering import Lowering, axes
from spokeshave.compiler.emit.program import Place
from spokeshave.compiler.emit.vectors import pack_vectors
from spokeshave.compiler.graph import Node
from spokeshave.compiler.kernels.instances import Epilogue, RecurrentKernel
from spokeshave.compiler.layout import Flat
from spokeshave.compiler.operations import Recurrent


def lower_recurrent(lowering: Lowering, node: Node) -> None:
    """Everything lies row-major: a step's features, gates and state are neighbours."""
    operation = node.operation
    assert isinstance(operation, Recurrent)
    input_bias, hidden_bias = _biases(lowering, operation)
    product = pack_vectors(lowering, lowering.weight(operation.hidden_weight), hidden_bias, Epilogue())
    kernel = RecurrentKernel(operation.kind, product.kernel)
    steps, hidden = lowering.layout(node.outputs[0]).shape
    projected = _project(lowering, node, input_bias)
    _begin(lowering, node)
    sequence = _row_major(lowering, node.outputs[0])
    lowering.call_kernel(
        kernel,
        *product.constants,
        hidden,
        steps,
        int(operation.reverse),
        projected,
        lowering.place(lowering.temporary(Flat((kernel.gates * hidden,)))),
        sequence,
        *(lowering.place(state) for state in node.outputs[1:]),
    )
    _copy(lowering, sequence, Flat((steps, hidden)).strides, node.outputs[0], reading=False)


def _biases(lowering: Lowering, operation: Recurrent) -> tuple[np.ndarray, np.ndarray]:
    """Both biases in one, but for a GRU's new gate, whose second bias is multiplied by the reset gate."""
    gates = lowering.weight(operation.hidden_weight).shape[0]
    if operation.input_bias is None or operation.hidden_bias is None:
        return np.zeros(gates, np.float32), np.zeros(gates, np.float32)
    outer, inner = lowering.weight(operation.input_bias), lowering.weight(operation.hidden_bias)
    apart = np.arange(gates) >= (gates // 3 * 2 if operation.kind == "gru" else gates)
    return outer + np.where(apart, np.float32(0), inner), np.where(apart, inner, np.float32(0))


def _project(lowering: Lowering, node: Node, bias: np.ndarray) -> Place:
    """The input's share of the gates, `[T, gates * H]`."""
    operation = node.operation
    assert isinstance(operation, Recurrent)
    weight = lowering.weight(operation.input_weight)
    gates, features = weight.shape
    steps = lowering.layout(node.inputs[0]).shape[0]
    source = _row_major(lowering, node.inputs[0])
    _copy(lowering, source, Flat((steps, features)).strides, node.inputs[0], reading=True)
    projected = lowering.place(lowering.temporary(Flat((steps, gates))))
    product = pack_vectors(lowering, weight, bias, Epilogue())
    sizes = (gates, steps, 0, source, features, projected, projected, gates)
    lowering.call_kernel(product.kernel, *product.constants, *sizes)
    return projected


def _begin(lowering: Lowering, node: Node) -> None:
    """The state before the first step, where the state after the last one will be."""
    operation = node.operation
    assert isinstance(operation, Recurrent)
    constants = [name for name in (operation.hidden_state, operation.cell_state) if name is not None]
    for index, state in enumerate(node.outputs[1:]):
        shape, strides = lowering.layout(state).shape, lowering.layout(state).strides
        if constants:
            source = lowering.constant(lowering.weight(constants[index]).reshape(-1))
            lowering.copy(source, strides, lowering.place(state), strides, shape)
        elif len(node.inputs) > 1:
            given = node.inputs[1 + index]
            lowering.copy(lowering.place(given), strides, lowering.place(state), strides, shape)
        else:
            lowering.call("fill", lowering.place(state), 0.0, *axes(shape, strides))


def _row_major(lowering: Lowering, value: str) -> Place:
    """The value itself where it lies row-major, else room for a copy of it."""
    layout = lowering.layout(value)
    return lowering.place(value if isinstance(layout, Flat) else lowering.temporary(Flat(layout.shape)))


def _copy(lowering: Lowering, room: Place, strides: tuple[int, ...], value: str, reading: bool) -> None:
    """Between a value and its row-major copy, where it has one."""
    layout, place = lowering.layout(value), lowering.place(value)
    if room == place:
        return
    if reading:
        lowering.copy(place, layout.strides, room, strides, layout.shape)
    else:
        lowering.copy(room, strides, place, layout.strides, layout.shape)
