"""The grammar of graphs, checked before the first pass and after each."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import (
    Affine,
    Attention,
    Concatenate,
    Constant,
    Convert,
    Convolution,
    Dequantize,
    Embedding,
    Expand,
    Foreign,
    Interleave,
    Linear,
    Lookup,
    MatMul,
    Mean,
    Operation,
    Pad,
    Permute,
    Pool,
    Quantization,
    Quantize,
    Quantized,
    QuantizedAttention,
    QuantizedMatMul,
    QuantizedMean,
    QuantizedNorm,
    QuantizedPool,
    QuantizedRecurrent,
    QuantizedSelected,
    QuantizedSoftmax,
    QuantizedSum,
    Recurrent,
    Reshape,
    Round,
    Rounded,
    SelectTokens,
    Slice,
    Softmax,
    Sum,
    Take,
    TopK,
    WholeRecurrent,
    Widen,
)
from spokeshave.compiler.shapes_given import shapes_given
from spokeshave.token_selection import most_tokens


class GraphError(Exception):
    """A graph that breaks the grammar: a fault of the importer or of a pass, never of the user."""


def verify(graph: Graph) -> Graph:
    """Return the graph, or raise GraphError naming the node and what is wrong with it.

    Values have the sample axis, 1, in front; they are made before they are used and once only; weights exist; typed
    operations read and make the element types that they are for, leave the sample axis alone and, run on tensors
    without data, give the shape that their output declares.
    """
    for value in graph.values.values():
        if value.shape[:1] != (1,):
            raise GraphError(f"value {value.name!r} of shape {value.shape} has no sample axis in front")
    made = set(graph.inputs)
    for node in graph.nodes:
        _check_names(graph, node, made)
        _check_foreign(graph, node) if isinstance(node.operation, Foreign) else _check_typed(graph, node)
        made.update(node.outputs)
    for name in graph.outputs:
        if name not in made and name not in graph.weights:
            raise GraphError(f"output {name!r} is never made")
    return graph


def _check_names(graph: Graph, node: Node, made: set[str]) -> None:
    for name in node.inputs:
        if name not in made:
            raise GraphError(f"{node.layer}: input {name!r} is used before it is made")
    for name in node.outputs:
        if name in made:
            raise GraphError(f"{node.layer}: output {name!r} is made twice")
        if name not in graph.values:
            raise GraphError(f"{node.layer}: output {name!r} has no declared shape")


def _check_typed(graph: Graph, node: Node) -> None:
    where = f"{node.layer}: {type(node.operation).__name__}"
    types = [graph.values[name].dtype for name in (*node.inputs, *node.outputs)]
    moved = isinstance(node.operation, MOVES) and len(set(types)) == 1 and types[0] in LEVEL_TYPES
    known = element_types(node.operation, len(types)), *WHOLE_NUMBERS.get(type(node.operation), ())
    if not moved and types not in known and not _looks_up(node.operation, types):
        raise GraphError(f"{where} reads or makes {', '.join(types)}")
    fault = CHECKS.get(type(node.operation), lambda operation, graph, node: None)(node.operation, graph, node)
    if fault:
        raise GraphError(f"{where} {fault}")
    _check_shape(graph, node, where)


WHOLE_NUMBERS: Mapping[type, tuple[list[str], ...]] = {
    Embedding: (["int64", "float32"],),
    Convert: (["int64", "float32"],),
    Reshape: (["int64", "int64"],),
}


MOVES = (Concatenate, Constant, Expand, Pad, Permute, Reshape, Slice, Take)
LEVEL_TYPES = ("uint8", "int8", "int16", "int32")


def _looks_up(operation: Operation, types: list[str]) -> bool:
    """A table may be read by whole numbers of any type."""
    return isinstance(operation, Lookup) and types[0] in LEVEL_TYPES and types[1] == operation.output.dtype


def element_types(operation: Operation, count: int) -> list[str]:
    """Element types of the `count` values that an operation takes and makes: its inputs', then its outputs'."""
    if isinstance(operation, Quantize):
        return ["float32", operation.quantization.dtype]
    if isinstance(operation, Dequantize):
        return [operation.quantization.dtype, "float32"]
    if isinstance(operation, QuantizedPool):
        return [operation.quantization.dtype] * 2
    if isinstance(operation, QuantizedSum):
        return [quantization.dtype for quantization in (*operation.inputs, operation.output)]
    if isinstance(operation, QuantizedMatMul):
        return [operation.first.dtype, operation.second.dtype, operation.output.dtype]
    if isinstance(operation, QuantizedAttention):
        masks = ["float32"] * (count - 1 - len(operation.inputs))
        return [*(of.dtype for of in operation.inputs), *masks, operation.output.dtype]
    if isinstance(operation, QuantizedMean | QuantizedNorm | QuantizedSoftmax):
        return [operation.input.dtype, operation.output.dtype]
    if isinstance(operation, Quantized):
        residual = [_stored(operation.residual)] * operation.layer.residual
        return [operation.input.dtype, *residual, _stored(operation.output)]
    if isinstance(operation, WholeRecurrent):
        states = ["float32"] * (count - 3)  # given ones, and c after the last step
        given = states if operation.cell is None else states[:-1]
        leaving = [_stored(left.output if left else None) for left in operation.outputs]
        return [
            operation.input_product.input.dtype,
            *given,
            *leaving,
            *["float32"] * (len(states) - len(given)),
        ]
    if isinstance(operation, Round):
        return ["float32", "bfloat16"]
    if isinstance(operation, Widen):
        return ["bfloat16", "float32"]
    if isinstance(operation, Rounded):
        residual = [_real(operation.residual)] * operation.layer.residual
        return ["bfloat16", *residual, _real(operation.output)]
    return ["float32"] * count


def _stored(quantization: Quantization | None) -> str:
    return quantization.dtype if quantization else "float32"


def _real(rounded: bool) -> str:
    return "bfloat16" if rounded else "float32"


def _check_shape(graph: Graph, node: Node, where: str) -> None:
    inputs = tuple((graph.shape(name), getattr(torch, graph.values[name].dtype)) for name in node.inputs)
    declared = tuple(graph.shape(name) for name in node.outputs)
    try:
        given = shapes_given(node.operation, inputs, graph.weights, declared[0])
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        raise GraphError(f"{where} cannot run: {error}") from error
    if given != declared:
        raise GraphError(f"{where} gives {given}, declared is {declared}")


def _check_foreign(graph: Graph, node: Node) -> None:
    assert isinstance(node.operation, Foreign)
    for entry in _named(json.loads(node.operation.arguments)):
        if "value" in entry and entry["value"] not in node.inputs:
            raise GraphError(
                f"{node.layer}: {node.operation.target} names {entry['value']!r}, which it does not read"
            )
        if "weight" in entry and entry["weight"] not in graph.weights:
            raise GraphError(
                f"{node.layer}: {node.operation.target} names {entry['weight']!r}, which is no weight"
            )


def _named(arguments: Any) -> Iterator[dict[str, Any]]:
    """The values and weights that a foreign operator's arguments name."""
    if isinstance(arguments, dict):
        yield arguments
    for entry in arguments.values() if isinstance(arguments, dict) else arguments:
        if isinstance(entry, dict | list):
            yield from _named(entry)


def _layer(operation: Convolution | Linear, graph: Graph, node: Node) -> str | None:
    rank = 4 if isinstance(operation, Convolution) else 2
    if len(node.inputs) != 1 + operation.residual:
        return f"has {len(node.inputs)} inputs, {1 + operation.residual} expected"
    if operation.residual and graph.shape(node.inputs[1]) != graph.shape(node.output):
        return f"adds {graph.shape(node.inputs[1])} to {graph.shape(node.output)}"
    if operation.weight in graph.weights and graph.weights[operation.weight].dim() != rank:
        return f"has a weight of {graph.weights[operation.weight].dim()} axes, {rank} expected"
    return None


def _low_precision(operation: Quantized | Rounded, graph: Graph, node: Node) -> str | None:
    weight = graph.weights.get(operation.weight)
    expected = (torch.int8, torch.int16) if isinstance(operation, Quantized) else (torch.bfloat16,)
    if weight is not None and weight.dtype not in expected:
        return f"has a weight of {weight.dtype}, {expected[0]} expected"
    rescale = operation.rescale if isinstance(operation, Quantized) else None
    if rescale is not None and rescale.rounding == "twice" and operation.layer.residual:
        return "adds a residual between two roundings"
    return _layer(operation.layer, graph, node)


def _affine(operation: Affine, graph: Graph, node: Node) -> str | None:
    channels = graph.shape(node.output)[1]
    sizes = [tuple(graph.weights[name].shape) for name in (operation.scale, operation.shift)]
    return (
        None if sizes == [(channels,), (channels,)] else f"scales and shifts {channels} channels by {sizes}"
    )


def _pool(operation: Pool, graph: Graph, node: Node) -> str | None:
    top, left, bottom, right = operation.padding
    return None if (top, left) == (bottom, right) else "pads its two sides differently"


def _quantized_pool(operation: QuantizedPool, graph: Graph, node: Node) -> str | None:
    return _pool(operation.pool, graph, node) if operation.pool.kind == "max" else "averages integers"


def _along(operation: Concatenate | Softmax | Slice | Take, graph: Graph, node: Node) -> str | None:
    rank = len(graph.shape(node.output))
    return None if 0 < operation.axis < rank else f"runs along axis {operation.axis} of {rank}"


def _mean(operation: Mean | Sum, graph: Graph, node: Node) -> str | None:
    rank, axes = len(graph.shape(node.inputs[0])), operation.axes
    in_order = list(axes) == sorted(set(axes)) and axes and axes[0] > 0 and axes[-1] < rank
    return None if in_order else f"is over axes {axes} of {rank}"


def _permute(operation: Permute, graph: Graph, node: Node) -> str | None:
    return None if operation.axes[:1] == (0,) else "moves the sample axis"


def _interleave(operation: Interleave, graph: Graph, node: Node) -> str | None:
    read, written = graph.shape(node.inputs[0])[1], graph.shape(node.output)[1]
    fits = read == written * operation.rows * operation.columns and written % operation.groups == 0
    return None if fits else f"makes {written} channels of {read}"


def _slice(operation: Slice, graph: Graph, node: Node) -> str | None:
    size = graph.shape(node.inputs[0])[operation.axis] if _along(operation, graph, node) is None else 0
    in_range = 0 <= operation.start <= operation.stop <= size and operation.step > 0
    return (
        None
        if in_range
        else f"takes {operation.start} to {operation.stop} of {size} on axis {operation.axis}"
    )


def _pad(operation: Pad, graph: Graph, node: Node) -> str | None:
    widths = (*operation.before, *operation.after)
    if min(widths) < 0 or operation.before[0] or operation.after[0]:
        return f"pads by {widths}"
    return None


def _recurrent(operation: Recurrent, graph: Graph, node: Node) -> str | None:
    states = 2 if operation.kind == "lstm" else 1
    constants = [name for name in (operation.hidden_state, operation.cell_state) if name is not None]
    if len(node.outputs) != 1 + states or len(node.inputs) not in (1, 1 + states):
        return f"has {len(node.inputs)} inputs and {len(node.outputs)} outputs"
    if len(constants) not in (0, states) or (constants and len(node.inputs) > 1):
        return "has a state that is half given, or given twice"
    if (operation.input_bias is None) != (operation.hidden_bias is None):
        return "has one bias of two"
    return None


def _quantized_recurrent(
    operation: QuantizedRecurrent | WholeRecurrent, graph: Graph, node: Node
) -> str | None:
    for name in (operation.layer.input_weight, operation.layer.hidden_weight):
        if name in graph.weights and graph.weights[name].dtype not in (torch.int8, torch.int16):
            return f"has a weight of {graph.weights[name].dtype}, int8 expected"
    return _recurrent(operation.layer, graph, node)


def _quantized_selected(operation: QuantizedSelected, graph: Graph, node: Node) -> str | None:
    weight = graph.weights.get(operation.layer.weight)
    fits = weight is None or (weight.dtype == torch.int8 and weight.dim() == 3)
    return None if fits else "has no stack of int8 matrices"


def _attention(operation: Attention, graph: Graph, node: Node) -> str | None:
    (_, queries, width), (_, keys, key_width), (_, values, value_width) = (
        graph.shape(name) for name in node.inputs[:3]
    )
    if queries % operation.windows or keys % operation.windows or keys != values:
        return f"has {operation.windows} windows of {queries} queries, {keys} keys and {values} values"
    if width % operation.heads or operation.heads % operation.key_heads or value_width % operation.key_heads:
        return f"has {operation.heads} heads over {operation.key_heads} in {width} and {value_width} channels"
    if len(node.inputs) > 3 + (operation.mask is None):
        return "has two masks"
    per_head = width // operation.heads
    return None if key_width == per_head * operation.key_heads else f"has keys {key_width} wide"


def _matmul(operation: MatMul | QuantizedMatMul, graph: Graph, node: Node) -> str | None:
    first, second = (graph.shape(name) for name in node.inputs)
    return None if first[:-2] == second[:-2] and len(first) > 2 else f"multiplies {first} by {second}"


def _top_k(operation: TopK, graph: Graph, node: Node) -> str | None:
    _, _, channels = graph.shape(node.inputs[0])
    return None if 0 < operation.count <= channels else f"takes {operation.count} of {channels} channels"


def _select_tokens(operation: SelectTokens, graph: Graph, node: Node) -> str | None:
    (_, tokens, _), scores, (_, left, _) = (graph.shape(name) for name in (*node.inputs, node.outputs[0]))
    settings = operation.leading, operation.packages, operation.rest
    fixed = left if operation.count is None else most_tokens(tokens, operation.count, *settings)
    if scores != (1, tokens - operation.leading) or left != fixed:
        return f"leaves {left} of {tokens} tokens by scores of {scores}"
    if (operation.length is None) == (operation.count is None):
        return "leaves a number of tokens that is neither fixed nor found, or both"
    return None


CHECKS: Mapping[type, Callable[[Any, Graph, Node], str | None]] = {
    Convolution: _layer,
    Linear: _layer,
    Quantized: _low_precision,
    Rounded: _low_precision,
    Affine: _affine,
    Pool: _pool,
    Concatenate: _along,
    Softmax: _along,
    Mean: _mean,
    Sum: _mean,
    MatMul: _matmul,
    QuantizedMatMul: _matmul,
    TopK: _top_k,
    SelectTokens: _select_tokens,
    Permute: _permute,
    Slice: _slice,
    Interleave: _interleave,
    Attention: _attention,
    QuantizedAttention: lambda operation, graph, node: _attention(operation.attention, graph, node),
    Take: _along,
    Pad: _pad,
    Recurrent: _recurrent,
    QuantizedPool: _quantized_pool,
    QuantizedRecurrent: _quantized_recurrent,
    WholeRecurrent: _quantized_recurrent,
    QuantizedSelected: _quantized_selected,
}
