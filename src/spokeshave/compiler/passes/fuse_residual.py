"""A residual sum moves into the kernel of the branch that is made last.

y = conv(x);  z = y + r    =>    z = conv(x) with residual r
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Binary, Convolution, Linear
from spokeshave.compiler.passes.rewrite import Fusion, fuse_pairs


def fuse_residual(graph: Graph) -> Graph:
    """Fuse every sum of two values of one shape of which one comes from a layer that nothing else reads."""
    return fuse_pairs(graph, _fuse)


def _fuse(graph: Graph, maker: Node, reader: Node) -> Fusion | None:
    layer, total = maker.operation, reader.operation
    if not isinstance(layer, Convolution | Linear) or layer.activation or layer.residual:
        return None
    if not isinstance(total, Binary) or total.kind != "add" or len(reader.inputs) != 2:
        return None
    if len({graph.shape(name) for name in (*reader.inputs, reader.output)}) > 1:
        return None
    (other,) = (name for name in reader.inputs if name != maker.output)
    operation = replace(layer, residual=True, activation=total.activation)
    return Fusion(Node(maker.layer, operation, (maker.inputs[0], other), reader.outputs))
