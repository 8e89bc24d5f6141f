"""Which operations have a form for lengths that change, and when."""

from collections import defaultdict
from collections.abc import Callable, Mapping

from spokeshave.compiler.count import Count
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import (
    Activate,
    Attention,
    Binary,
    Concatenate,
    Constant,
    Convert,
    Embedding,
    Expand,
    Foreign,
    LayerNorm,
    Linear,
    MatMul,
    Mean,
    Permute,
    Recurrent,
    Reshape,
    RMSNorm,
    SelectedLinear,
    SelectTokens,
    Slice,
    Softmax,
    Sum,
    Take,
    TopK,
    Where,
)
from spokeshave.errors import SpokeshaveError

Check = Callable[[Graph, Node], bool]


def check_form(graph: Graph, node: Node) -> None:
    """Raise SpokeshaveError where a node reads or makes changing axes and has no form for them."""
    shapes = [graph.shape(name) for name in (*node.inputs, *node.outputs)]
    if not any(isinstance(size, Count) for shape in shapes for size in shape):
        return
    if isinstance(node.operation, Foreign):
        raise SpokeshaveError(
            f"layer {node.layer!r} is not compiled ({node.operation.target}: {node.operation.reason}), so its length "
            "cannot change"
        )
    check = FORMS.get(type(node.operation))
    if check is None or not check(graph, node):
        kind = type(node.operation).__name__
        raise SpokeshaveError(f"layer {node.layer!r} ({kind}) has no form for a length that changes")


def _always(graph: Graph, node: Node) -> bool:
    return True


def _last_is_fixed(graph: Graph, node: Node) -> bool:
    shape = graph.shape(node.inputs[0])
    return len(shape) == 3 and not isinstance(shape[-1], Count)


def _first_or_to_the_end(graph: Graph, node: Node) -> bool:
    """A slice of a changing axis may read what is always there, or all from some place on."""
    operation = node.operation
    assert isinstance(operation, Slice)
    size = graph.shape(node.inputs[0])[operation.axis]
    if not isinstance(size, Count) or (operation.stop, operation.step) == (size, 1):
        return True
    return operation.stop <= size.at(_least(graph))


def _least(graph: Graph) -> Mapping[int, int]:
    """What every length is at least: one element, or what a selector always leaves."""
    selectors = [node.operation for node in graph.nodes if isinstance(node.operation, SelectTokens)]
    return defaultdict(lambda: 1, {one.length: one.least for one in selectors if one.length is not None})


def _finds_its_length(graph: Graph, node: Node) -> bool:
    """A fixed count may be more than what is there."""
    operation = node.operation
    assert isinstance(operation, SelectTokens)
    return operation.count is None


def _taken_is_fixed(graph: Graph, node: Node) -> bool:
    operation = node.operation
    assert isinstance(operation, Take)
    return not isinstance(graph.shape(node.inputs[0])[operation.axis], Count)


def _one_window(graph: Graph, node: Node) -> bool:
    assert isinstance(node.operation, Attention)
    return node.operation.windows == 1


FORMS: Mapping[type, Check] = {
    Activate: _always,
    Attention: _one_window,
    Binary: _always,
    Concatenate: _always,
    Constant: _always,
    Convert: _always,
    Embedding: _always,
    Expand: _always,
    LayerNorm: _last_is_fixed,
    Linear: _last_is_fixed,
    MatMul: _always,
    Mean: _last_is_fixed,
    Permute: _always,
    Reshape: _always,
    Recurrent: _last_is_fixed,
    RMSNorm: _last_is_fixed,
    SelectedLinear: _always,
    SelectTokens: _finds_its_length,
    Slice: _first_or_to_the_end,
    Softmax: _last_is_fixed,
    Sum: _last_is_fixed,
    Take: _taken_is_fixed,
    TopK: _last_is_fixed,
    Where: _always,
}
