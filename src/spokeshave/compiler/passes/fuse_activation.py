"""An activation moves into the kernel that makes its input.

conv -> relu    =>    conv with epilogue relu
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Activate, Affine, Binary, Convolution, Linear
from spokeshave.compiler.passes.rewrite import producers, uses, with_nodes


def fuse_activation(graph: Graph) -> Graph:
    """Fuse every activation whose source nothing else reads and has none yet."""
    made, read = producers(graph), uses(graph)
    fused: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        before = made.get(node.inputs[0]) if node.inputs else None
        if not isinstance(node.operation, Activate) or before is None or read[node.inputs[0]] != 1:
            continue
        operation = before.operation
        if isinstance(operation, Convolution | Linear | Binary | Affine) and operation.activation is None:
            taken = replace(operation, activation=node.operation.activation)
            fused[before.output] = replace(before, operation=taken, outputs=node.outputs)
            gone.add(node.output)
    return with_nodes(graph, [fused.get(n.outputs[0], n) for n in graph.nodes if n.outputs[0] not in gone])
