"""A norm by the root mean square, written out, becomes one operation.

x * rsqrt(mean(x * x, last axis) + epsilon) [* weight]    =>    RMSNorm
"""

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Activate, Binary, Mean, Reshape, RMSNorm
from spokeshave.compiler.passes.rewrite import Rewriting


def fuse_rms_norm(graph: Graph) -> Graph:
    """Replace every norm; with the scale that follows it, where that is one weight a channel."""
    rewriting = Rewriting(graph)
    for node in graph.nodes:
        found = _scaled(rewriting, node) or _norm(rewriting, node)
        if found is None:
            rewriting.nodes.append(node)
        else:
            source, operation = found
            rewriting.nodes.append(Node(node.layer, operation, (source,), node.outputs))
    return rewriting.finished()


def _scaled(rewriting: Rewriting, node: Node) -> tuple[str, RMSNorm] | None:
    operation = node.operation
    if not isinstance(operation, Binary) or operation.kind != "multiply" or operation.constant is None:
        return None
    width = rewriting.values[node.output].shape[-1]
    maker = rewriting.maker(node.inputs[0], Binary)
    found = _norm(rewriting, maker) if maker else None
    if found is None or rewriting.weights[operation.constant].shape != (width,):
        return None
    return found[0], RMSNorm(operation.constant, found[1].epsilon)


def _norm(rewriting: Rewriting, node: Node) -> tuple[str, RMSNorm] | None:
    """What is normed, and how, where a node multiplies a value by its own inverse root mean square."""
    if not _is_binary(node, "multiply") or len(node.inputs) != 2:
        return None
    if len(rewriting.values[node.output].shape) not in (2, 3):
        return None
    for source, scale in (node.inputs, node.inputs[::-1]):
        epsilon = _epsilon(rewriting, scale, source)
        if epsilon is not None:
            return source, RMSNorm(None, epsilon)
    return None


def _epsilon(rewriting: Rewriting, scale: str, source: str) -> float | None:
    """The epsilon where `scale` is the inverse root mean square of `source`."""
    root = rewriting.maker(scale, Activate)
    shifted = rewriting.maker(root.inputs[0], Binary) if root and _is_root(root) else None
    if shifted is None or not _is_binary(shifted, "add") or len(shifted.inputs) != 1:
        return None
    mean = rewriting.maker(_unshaped(rewriting, shifted.inputs[0]), Mean)
    square = rewriting.maker(_unshaped(rewriting, mean.inputs[0]), Binary) if mean else None
    if mean is None or square is None or not _is_binary(square, "multiply"):
        return None
    rank = len(rewriting.values[mean.inputs[0]].shape)
    over_last = isinstance(mean.operation, Mean) and mean.operation.axes == (rank - 1,)
    assert isinstance(shifted.operation, Binary)
    epsilon = rewriting.weights[str(shifted.operation.constant)]
    if not over_last or square.inputs != (source, source) or epsilon.numel() != 1:
        return None
    return float(epsilon)


def _is_root(node: Node) -> bool:
    return isinstance(node.operation, Activate) and node.operation.activation.kind == "rsqrt"


def _is_binary(node: Node, kind: str) -> bool:
    operation = node.operation
    return isinstance(operation, Binary) and operation.kind == kind and operation.activation is None


def _unshaped(rewriting: Rewriting, name: str) -> str:
    """The value before a reshape that leaves the last axis whole, else the value itself."""
    maker = rewriting.maker(name, Reshape)
    shapes = rewriting.values
    same = maker is not None and shapes[name].shape[-1] == shapes[maker.inputs[0]].shape[-1]
    return maker.inputs[0] if maker is not None and same else name
