"""A comparison with 0 that chooses between -1 and 1 becomes one operation.

where(x - 0 >= 0, 1, -1)    =>    sign of x, which is 1 for 0
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Activate, Activation, Binary, Where

SIGN = Activation("sign")


def recognise_signs(graph: Graph) -> Graph:
    """Replace every such choice; the comparison before it is for others."""
    return replace(graph, nodes=tuple(_recognised(graph, node) for node in graph.nodes))


def _recognised(graph: Graph, node: Node) -> Node:
    source = _compared(graph, node)
    return node if source is None else Node(node.layer, Activate(SIGN), (source,), node.outputs)


def _compared(graph: Graph, node: Node) -> str | None:
    """What is compared with 0, where the node chooses 1 from there up and -1 below."""
    chosen = node.operation
    if not isinstance(chosen, Where) or not (_all(graph, chosen.yes, 1) and _all(graph, chosen.no, -1)):
        return None
    compared = graph.maker(node.inputs[0])
    if compared is None or not _with_zero(graph, compared, "greater_equal"):
        return None
    source = compared.inputs[0]
    before = graph.maker(source)
    if before is not None and _with_zero(graph, before, "subtract"):
        source = before.inputs[0]
    return source if graph.shape(source) == graph.shape(node.output) else None


def _with_zero(graph: Graph, node: Node, kind: str) -> bool:
    """Whether a node is `x kind 0`."""
    operation = node.operation
    return (
        isinstance(operation, Binary)
        and (operation.kind, operation.reverse, operation.activation) == (kind, False, None)
        and _all(graph, operation.constant, 0)
    )


def _all(graph: Graph, constant: str | None, value: float) -> bool:
    return constant is not None and bool((graph.weights[constant] == value).all())
