"""An activation moves into the kernel that makes its input.

conv -> relu    =>    conv with epilogue relu
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Activate, Affine, Binary, Convolution, Linear
from spokeshave.compiler.passes.rewrite import Fusion, fuse_pairs


def fuse_activation(graph: Graph) -> Graph:
    """Fuse every activation whose input nothing else reads and whose maker has none yet."""
    return fuse_pairs(graph, _fuse)


def _fuse(graph: Graph, maker: Node, reader: Node) -> Fusion | None:
    operation = maker.operation
    if not isinstance(reader.operation, Activate):
        return None
    if not isinstance(operation, Convolution | Linear | Binary | Affine) or operation.activation is not None:
        return None
    activated = replace(operation, activation=reader.operation.activation)
    return Fusion(replace(maker, operation=activated, outputs=reader.outputs))
