"""An average pool over the whole map is a mean.

average pool 7 x 7 of a 7 x 7 map    =>    mean over both axes
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Mean, Pool


def pool_whole_maps(graph: Graph) -> Graph:
    """Replace every unpadded average pool whose one window is the map."""
    return replace(graph, nodes=tuple(_replaced(graph, node) for node in graph.nodes))


def _replaced(graph: Graph, node: Node) -> Node:
    pool = node.operation
    if not isinstance(pool, Pool) or pool.kind != "average" or any(pool.padding):
        return node
    whole = graph.shape(node.inputs[0])[2:] == pool.kernel and graph.shape(node.output)[2:] == (1, 1)
    return replace(node, operation=Mean((2, 3), keep=True)) if whole else node
