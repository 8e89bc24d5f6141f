"""Operands whose broadcast has no form of its own are repeated before they meet.

[1, 7, 1] + [1, 1, 24]    =>    expand [1, 7, 1] to [1, 7, 24], expand [1, 1, 24] to it, add
"""

from dataclasses import replace

from spokeshave.compiler.broadcast import meets
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Binary, Expand, Reshape
from spokeshave.compiler.passes.rewrite import Rewriting


def expand_broadcasts(graph: Graph) -> Graph:
    """Repeat what element-wise arithmetic could not read as it is."""
    rewriting = Rewriting(graph)
    for node in graph.nodes:
        expanded = _expanded(rewriting, node) if isinstance(node.operation, Binary) else node
        rewriting.nodes.append(expanded)
    return rewriting.finished()


def _expanded(rewriting: Rewriting, node: Node) -> Node:
    shape = rewriting.values[node.output].shape
    given = [rewriting.values[name].shape for name in node.inputs]
    if len(given) == 1:
        return node if given[0] == shape else replace(node, inputs=(_repeated(rewriting, node, 0),))
    if shape in given and all(meets(shape, other) for other in given):
        return node
    return replace(node, inputs=tuple(_repeated(rewriting, node, place) for place in (0, 1)))


def _repeated(rewriting: Rewriting, node: Node, place: int) -> str:
    """An operand under the shape of the result; axes that it lacks come behind the sample axis."""
    name, shape = node.inputs[place], rewriting.values[node.output].shape
    given = rewriting.values[name].shape
    if given == shape:
        return name
    if len(given) < len(shape):
        filled = (1, *(1 for _ in range(len(shape) - len(given))), *given[1:])
        name = rewriting.add(node, Reshape(), (name,), filled)
    return rewriting.add(node, Expand(), (name,), shape)
