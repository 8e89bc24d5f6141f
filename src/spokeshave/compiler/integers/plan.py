"""Which operations of a graph are done in whole numbers, and which stay float32 and why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.integers.settings import IntegerForm
from spokeshave.compiler.integers.signs import sign_values
from spokeshave.compiler.operations import (
    Activate,
    Activation,
    Affine,
    Attention,
    Binary,
    Concatenate,
    Convolution,
    Expand,
    Foreign,
    Linear,
    Mean,
    Operation,
    Pad,
    Permute,
    Pool,
    Recurrent,
    Reshape,
    Slice,
    Take,
)
from spokeshave.compiler.quantization.arithmetic import clamping
from spokeshave.compiler.verify import verify

LAYERS = (Convolution, Linear, Recurrent)
MOVES = (Concatenate, Expand, Pad, Permute, Reshape, Slice, Take)
MOST_TABLE_BITS = 12


@dataclass(frozen=True)
class Division:
    """`whole`: values made by operations in whole numbers, what recurrent layers end with included (but for an LSTM's
    c); `reasons`: why the others are not, by the first value made."""

    whole: frozenset[str]
    reasons: Mapping[str, str]


def divide(graph: Graph, form: IntegerForm) -> Division:
    """Layers are whole, and so is what follows them as long as it has a form in whole numbers."""
    whole: set[str] = set()
    reasons: dict[str, str] = {}
    signs = sign_values(graph)
    for node in graph.nodes:
        reason = _reason(graph, node, whole, form, signs)
        if reason is None:
            whole.update(node.outputs[:2])
        elif reason:
            reasons[node.outputs[0]] = reason
    return _ending_early(graph, Division(frozenset(whole), reasons))


def _ending_early(graph: Graph, division: Division) -> Division:
    """Last states that are merely moved about, to be outputs, are float32: levels would hold fewer of their bits."""
    carried: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.operation, Recurrent):
            carried.add(node.outputs[1])
        elif isinstance(node.operation, MOVES) and node.inputs and carried.issuperset(node.inputs):
            carried.add(node.output)
    for node in reversed(graph.nodes):
        idle = isinstance(node.operation, MOVES) and not goes_on_whole(graph, node.output, division)
        if idle and node.output in carried:
            division = replace(division, whole=division.whole - {node.output})
    return division


def _reason(
    graph: Graph, node: Node, whole: set[str], form: IntegerForm, signs: frozenset[str]
) -> str | None:
    """None for whole numbers; "" for what merely moves float32 numbers about."""
    operation = node.operation
    if isinstance(operation, LAYERS) or (isinstance(operation, Attention) and form.attention == "whole"):
        return None
    follows = [name in whole for name in node.inputs]
    if isinstance(operation, MOVES):
        held = not isinstance(operation, Pad) or operation.value == 0 or node.output in signs
        return None if follows and all(follows) and held else ""
    reason = _form_reason(graph, node, form)
    return reason if reason is not None or any(follows) else "it reads no whole numbers"


def _form_reason(graph: Graph, node: Node, form: IntegerForm) -> str | None:
    operation = node.operation
    if isinstance(operation, Activate):
        fits = clamping(operation.activation) is not None or form.activation_bits <= MOST_TABLE_BITS
        return None if fits else f"a table of {operation.activation.kind} has at most {MOST_TABLE_BITS} bits"
    if isinstance(operation, Binary):
        return _binary_reason(graph, node, operation)
    if isinstance(operation, Mean):
        return None
    if isinstance(operation, Pool):
        return _pool_reason(graph, node, operation)
    return f"{operator_name(operation)} has no form in whole numbers"


def operator_name(operation: Operation) -> str:
    """An operation as sentences call it: by its operator in PyTorch where it has no kernel here."""
    return operation.target if isinstance(operation, Foreign) else type(operation).__name__


def _binary_reason(graph: Graph, node: Node, operation: Binary) -> str | None:
    if operation.kind not in ("add", "subtract") or operation.constant is not None:
        return (
            f"{operation.kind}{' with a constant' if operation.constant else ''} has no form in whole numbers"
        )
    shapes = {graph.shape(name) for name in (*node.inputs, node.output)}
    return None if len(shapes) == 1 else "its two sides have different shapes"


def _pool_reason(graph: Graph, node: Node, pool: Pool) -> str | None:
    if pool.kind == "max":
        return None
    if any(pool.padding) and not pool.count_padding:
        return "an average that leaves out its padding has no form in whole numbers"
    size, (_, _, *maps) = graph.shape(node.output)[2:], graph.shape(node.inputs[0])
    edges = [length + 2 * before for length, before in zip(maps, pool.padding[:2], strict=True)]
    floor = [(e - k) // s + 1 for e, k, s in zip(edges, pool.kernel, pool.stride, strict=True)]
    return (
        None
        if list(size) == floor
        else "an average whose last windows stick out has no form in whole numbers"
    )


def goes_on_whole(graph: Graph, value: str, division: Division) -> bool:
    """Whether an operation in whole numbers reads a value."""
    return any(
        reader.outputs[0] in division.whole and value in read_whole(reader) for reader in graph.readers(value)
    )


def read_whole(node: Node) -> tuple[str, ...]:
    """What an operation in whole numbers reads as such: all but a recurrent layer's first states, and masks."""
    if isinstance(node.operation, Attention):
        return node.inputs[:3]
    return node.inputs[:1] if isinstance(node.operation, Recurrent) else node.inputs


def modules(graph: Graph, form: IntegerForm) -> Graph:
    """The graph whose layers hold no more than the form does at once.

    Without float32 behind the sums an activation that is no mere clamp is an operation of its own, so that it can be a
    table; with separate joins a residual sum is one, too, and by operators so is every activation.
    """
    nodes, values = [], dict(graph.values)

    def before(node: Node, what: str) -> str:
        name = f"{node.output} before {what}"
        values[name] = Value(name, values[node.output].shape)
        return name

    for node in graph.nodes:
        activation = _taken_in(node, form)
        if activation is not None:
            made, kind = before(node, activation.kind), activation
            nodes += _joined(_without(node, made, activation=None), form, before)
            nodes.append(Node(node.layer, Activate(kind), (made,), node.outputs))
        else:
            nodes += _joined(node, form, before)
    return verify(replace(graph, nodes=tuple(nodes), values=values))


def _joined(node: Node, form: IntegerForm, before: Callable[[Node, str], str]) -> list[Node]:
    """A layer and, where joins are separate, its residual sum."""
    operation = node.operation
    if form.joins == "fused" or not isinstance(operation, Convolution | Linear) or not operation.residual:
        return [node]
    made = before(node, "joining")
    layer = _without(node, made, activation=None, residual=False)
    total = Binary("add", activation=operation.activation)
    return [
        replace(layer, inputs=node.inputs[:1]),
        Node(node.layer, total, (made, node.inputs[1]), node.outputs),
    ]


def _without(node: Node, made: str, **changes: Any) -> Node:
    return replace(node, operation=replace(node.operation, **changes), outputs=(made,))


def _taken_in(node: Node, form: IntegerForm) -> Activation | None:
    """The activation of a node that must be an operation of its own."""
    if not isinstance(node.operation, Convolution | Linear | Binary | Affine):
        return None
    activation, by_float = node.operation.activation, form.rescale == "float"
    if form.joins == "operators":
        return activation
    return None if by_float or clamping(activation) is not None else activation
