"""An average pool over the whole map is a mean, and a mean over axes of length 1 only drops them.

average pool 7 x 7 of a 7 x 7 map    =>    mean over both axes
mean over both axes of a 1 x 1 map   =>    reshape
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Mean, Pool, Reshape


def pool_whole_maps(graph: Graph) -> Graph:
    """Replace every unpadded average pool whose one window is the map, and every mean of single elements."""
    return replace(graph, nodes=tuple(_replaced(graph, node) for node in graph.nodes))


def _replaced(graph: Graph, node: Node) -> Node:
    if isinstance(node.operation, Pool) and _takes_all(graph, node, node.operation):
        node = replace(node, operation=Mean((2, 3), keep=True))
    if isinstance(node.operation, Mean):
        shape = graph.shape(node.inputs[0])
        if all(shape[axis] == 1 for axis in node.operation.axes):
            node = replace(node, operation=Reshape())
    return node


def _takes_all(graph: Graph, node: Node, pool: Pool) -> bool:
    if pool.kind != "average" or any(pool.padding):
        return False
    return graph.shape(node.inputs[0])[2:] == pool.kernel and graph.shape(node.output)[2:] == (1, 1)
