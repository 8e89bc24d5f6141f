"""Element-wise operations run before a reshape rather than after it, next to the layer that makes their input.

    conv -> reshape -> relu              =>    conv -> relu -> reshape
    reshape(a) + reshape(b)              =>    reshape(a + b)

This is what lets 1-D convolutions, and linear layers over more than three axes, take in their activations and
residual sums: the importer puts reshapes round them.
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Activate, Binary, Reshape

MOST_AXES = 4  # of a value that element-wise operations should move to


def sink_reshapes(graph: Graph) -> Graph:
    """Move reshapes down past activations and arithmetic, in one walk."""
    values = dict(graph.values)
    makers: dict[str, Node] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        sources = _sources(graph, values, node, makers)
        if sources:
            made = Value(f"{node.output} unshaped", values[sources[0]].shape)
            values[made.name] = made
            nodes.append(replace(node, inputs=sources, outputs=(made.name,)))
            node = Node(node.layer, Reshape(), (made.name,), node.outputs)
        nodes.append(node)
        makers.update(dict.fromkeys(node.outputs, node))
    return replace(graph, nodes=tuple(nodes), values=values)


def _sources(
    graph: Graph, values: dict[str, Value], node: Node, makers: dict[str, Node]
) -> tuple[str, ...] | None:
    """What the operation can read instead: the inputs of the reshapes before it, all of one shape."""
    reshapes = [makers.get(name) for name in node.inputs]
    sources = tuple(maker.inputs[0] for maker in reshapes if maker and isinstance(maker.operation, Reshape))
    shapes = {values[name].shape for name in sources}
    if len(sources) != len(node.inputs) or len(shapes) != 1:
        return None
    (shape,) = shapes
    if len(shape) > MOST_AXES or not _indifferent(graph, values, node, shape):
        return None
    return sources


def _indifferent(graph: Graph, values: dict[str, Value], node: Node, shape: tuple[int, ...]) -> bool:
    """Whether the operation treats every element, or every column of the last axis, alike under both shapes."""
    operation = node.operation
    if isinstance(operation, Activate):
        return True
    if not isinstance(operation, Binary):
        return False
    result = values[node.output].shape
    if any(values[name].shape != result for name in node.inputs):
        return False
    if operation.constant is None:
        return True
    constant = graph.weights[operation.constant]
    by_column = constant.numel() == constant.shape[-1:].numel() and shape[-1] == result[-1]
    return constant.dim() <= len(shape) and (constant.numel() == 1 or by_column)
