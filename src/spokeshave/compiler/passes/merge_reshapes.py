"""Two reshapes in a row are one, and a reshape to the same shape is none.

reshape -> reshape    =>    reshape
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Reshape
from spokeshave.compiler.passes.rewrite import producers, with_nodes


def merge_reshapes(graph: Graph) -> Graph:
    """Let every reshape read the first value of its chain, and readers of a reshape to the same shape its source."""
    made = producers(graph)
    nodes = []
    for node in graph.nodes:
        inputs = tuple(
            _source(graph, made, name, isinstance(node.operation, Reshape)) for name in node.inputs
        )
        nodes.append(node if inputs == node.inputs or _is_foreign(node) else replace(node, inputs=inputs))
    return with_nodes(graph, nodes)


def _is_foreign(node: Node) -> bool:
    """Foreign operators name their values in their arguments as well: they stay as they are."""
    return type(node.operation).__name__ == "Foreign"


def _source(graph: Graph, made: dict[str, Node], name: str, any_shape: bool) -> str:
    node = made.get(name)
    while node is not None and isinstance(node.operation, Reshape):
        if not any_shape and graph.shape(node.inputs[0]) != graph.shape(name):
            break
        name = node.inputs[0]
        node = made.get(name)
    return name
