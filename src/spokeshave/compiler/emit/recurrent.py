"""Lowers recurrent layers: the input's share of all steps as one product, then one kernel over the steps."""

from torch import Tensor

from spokeshave.compiler.emit.literals import requantization_literal
from spokeshave.compiler.emit.lowering import Lowering, axes
from spokeshave.compiler.emit.program import GROUP, Argument, Place
from spokeshave.compiler.emit.vectors import VectorProduct, pack_integer_vectors, pack_vectors
from spokeshave.compiler.graph import Node
from spokeshave.compiler.kernels.instances import Epilogue, RecurrentKernel
from spokeshave.compiler.layout import FLOAT_BYTES, Flat, words
from spokeshave.compiler.operations import Quantized, QuantizedRecurrent, Recurrent
from spokeshave.compiler.quantization.arithmetic import conversion, requantization
from spokeshave.compiler.quantization.gates import merged_biases


def lower_recurrent(lowering: Lowering, node: Node) -> None:
    """Everything lies row-major: a step's features, gates and state are neighbours."""
    layer = node.operation
    assert isinstance(layer, Recurrent)
    input_bias, hidden_bias = (bias.numpy() for bias in merged_biases(layer, lowering.graph.weights))
    entry = pack_vectors(lowering, lowering.weight(layer.input_weight), input_bias, Epilogue())
    gates, features = lowering.weight(layer.input_weight).shape
    steps, projected = lowering.layout(node.outputs[0]).shape[0], _room(lowering, node, gates)
    sizes = (gates, steps, 0, _sequence(lowering, node), features, projected, projected, gates)
    lowering.call_kernel(entry.kernel, *entry.constants, *sizes)
    product = pack_vectors(lowering, lowering.weight(layer.hidden_weight), hidden_bias, Epilogue())
    _lower_steps(lowering, node, layer, product, projected)


def lower_quantized_recurrent(lowering: Lowering, node: Node) -> None:
    """The same with both products in integers; their operands are rounded row by row, right before."""
    operation = node.operation
    assert isinstance(operation, QuantizedRecurrent)
    layer, weights = operation.layer, lowering.graph.weights
    shares = (operation.input_product, operation.state_product)
    entry, product = (
        _pack_integers(lowering, share, bias)
        for share, bias in zip(shares, merged_biases(layer, weights), strict=True)
    )
    gates, features = weights[layer.input_weight].shape
    steps, projected = lowering.layout(node.outputs[0]).shape[0], _room(lowering, node, gates)
    row = words(features, "uint8")
    rows = lowering.place(lowering.temporary(Flat((steps, row))))
    convert = requantization_literal(conversion(operation.input))
    source = _sequence(lowering, node)
    lowering.call("quantize_rows", source, rows, steps, features, features, row * FLOAT_BYTES, convert)
    sizes = (gates, steps, 0, rows, row * FLOAT_BYTES, projected, gates, projected, gates)
    lowering.call_kernel(entry.kernel, *entry.constants, *sizes, convert)
    hidden = lowering.layout(node.outputs[0]).shape[1]
    state = lowering.place(lowering.temporary(Flat((words(hidden, "uint8"),))))
    convert = requantization_literal(conversion(operation.state))
    _lower_steps(lowering, node, layer, product, projected, state, convert)


def _pack_integers(lowering: Lowering, share: Quantized, bias: Tensor) -> VectorProduct:
    weight = lowering.graph.weights[share.weight]
    after = requantization(share, weight, lowering.graph.weights[share.weight_scale], bias)
    return pack_integer_vectors(lowering, weight.numpy(), after)


def _lower_steps(
    lowering: Lowering,
    node: Node,
    layer: Recurrent,
    product: VectorProduct,
    projected: Place,
    *state: Argument,
) -> None:
    """The call over all steps, between those that bring the first state and take the sequence to its layout."""
    kernel = RecurrentKernel(layer.kind, product.kernel)
    steps, hidden = lowering.layout(node.outputs[0]).shape
    _begin(lowering, node, layer)
    sequence = lowering.row_major(node.outputs[0])
    lowering.call_kernel(
        kernel,
        *product.constants,
        hidden,
        steps,
        int(layer.reverse),
        projected,
        lowering.place(lowering.temporary(Flat((kernel.gates * hidden,)))),
        sequence,
        *(lowering.place(value) for value in node.outputs[1:]),
        *state,
        *GROUP,
    )
    lowering.store_rows(sequence, node.outputs[0])


def _room(lowering: Lowering, node: Node, gates: int) -> Place:
    """Room for the input's share of the gates, `[T, gates]`."""
    steps = lowering.layout(node.outputs[0]).shape[0]
    return lowering.place(lowering.temporary(Flat((steps, gates))))


def _sequence(lowering: Lowering, node: Node) -> Place:
    """The steps' features, row-major."""
    source = lowering.row_major(node.inputs[0])
    lowering.fetch_rows(node.inputs[0], source)
    return source


def _begin(lowering: Lowering, node: Node, layer: Recurrent) -> None:
    """The state before the first step, where the state after the last one will be."""
    constants = [name for name in (layer.hidden_state, layer.cell_state) if name is not None]
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
