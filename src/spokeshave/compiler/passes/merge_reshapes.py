"""Reshapes are made once, in one step, and not at all where the shape is there already.

reshape -> reshape              =>    reshape
reshape to the same shape       =>    its input
two reshapes of one value to one shape    =>    one of them
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Reshape
from spokeshave.compiler.passes.rewrite import reading


def merge_reshapes(graph: Graph) -> Graph:
    """Merge all reshapes in one walk; a reshape whose result nothing reads any more is left to `eliminate_dead`."""
    same: dict[str, str] = {}
    sources: dict[str, str] = {}  # what each reshape of the new graph reads
    known: dict[tuple[str, tuple[int, ...]], str] = {}
    nodes: list[Node] = []
    for old in graph.nodes:
        node = reading(old, same)
        if isinstance(node.operation, Reshape):
            source = sources.get(node.inputs[0], node.inputs[0])
            shape = graph.shape(node.output)
            there = source if graph.shape(source) == shape else known.get((source, shape))
            if there is not None:
                same[node.output] = there
                continue
            node = replace(node, inputs=(source,))
            sources[node.output] = source
            known[source, shape] = node.output
        nodes.append(node)
    outputs = tuple(same.get(name, name) for name in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)
