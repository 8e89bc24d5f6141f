"""A residual sum moves into the kernel of the branch that is made last.

y = conv(x);  z = y + r    =>    z = conv(x) with residual r
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Binary, Convolution, Linear
from spokeshave.compiler.passes.rewrite import producers, uses, with_nodes


def fuse_residual(graph: Graph) -> Graph:
    """Fuse every sum of two values of one shape of which one comes from a layer that nothing else reads.

    The layer moves to where the sum was, so that the other operand is there in time.
    """
    made, read = producers(graph), uses(graph)
    position = {node.outputs[0]: index for index, node in enumerate(graph.nodes)}
    replaced: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        if not _is_plain_sum(graph, node):
            continue
        branches = [name for name in node.inputs if _can_take(made.get(name), read) and name not in gone]
        if branches:
            name = max(branches, key=lambda branch: position[branch])
            replaced[node.output] = _fuse(made[name], node, name)
            gone.add(name)
    return with_nodes(graph, [replaced.get(n.outputs[0], n) for n in graph.nodes if n.outputs[0] not in gone])


def _is_plain_sum(graph: Graph, node: Node) -> bool:
    operation = node.operation
    if not isinstance(operation, Binary) or operation.kind != "add" or len(node.inputs) != 2:
        return False
    first, second = node.inputs
    return first != second and graph.shape(first) == graph.shape(second) == graph.shape(node.output)


def _can_take(node: Node | None, read: dict[str, int]) -> bool:
    if node is None or not isinstance(node.operation, Convolution | Linear) or read[node.output] != 1:
        return False
    return node.operation.activation is None and not node.operation.residual


def _fuse(layer: Node, total: Node, name: str) -> Node:
    assert isinstance(layer.operation, Convolution | Linear)
    assert isinstance(total.operation, Binary)
    other = next(operand for operand in total.inputs if operand != name)
    operation = replace(layer.operation, residual=True, activation=total.operation.activation)
    return Node(layer.layer, operation, (layer.inputs[0], other), total.outputs)
