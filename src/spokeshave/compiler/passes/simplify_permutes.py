"""Permutations that only move axes of length 1 are reshapes, which often vanish.

permute (0, 2, 1, 3) of [1, 7, 1, 64]    =>    reshape to [1, 1, 7, 64]
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Permute, Reshape


def simplify_permutes(graph: Graph) -> Graph:
    """Replace every permutation that keeps the order of its longer axes."""
    return replace(graph, nodes=tuple(_simplified(graph, node) for node in graph.nodes))


def _simplified(graph: Graph, node: Node) -> Node:
    if not isinstance(node.operation, Permute):
        return node
    shape = graph.shape(node.inputs[0])
    longer = [axis for axis in node.operation.axes if shape[axis] > 1]
    return replace(node, operation=Reshape()) if longer == sorted(longer) else node
