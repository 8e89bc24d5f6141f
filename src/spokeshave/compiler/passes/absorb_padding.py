"""Zeros padded round a map become the padding of the convolution that reads it.

pad (0, 0, 1, 1) -> conv    =>    conv with padding (top 0, left 0, bottom 1, right 1)
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Convolution, Pad
from spokeshave.compiler.passes.rewrite import Fusion, fuse_pairs


def absorb_padding(graph: Graph) -> Graph:
    """Let every convolution take in the zero padding of its input, where nothing else reads that."""
    return fuse_pairs(graph, _absorb)


def _absorb(graph: Graph, maker: Node, reader: Node) -> Fusion | None:
    pad, convolution = maker.operation, reader.operation
    if not isinstance(pad, Pad) or not isinstance(convolution, Convolution):
        return None
    if pad.value != 0 or reader.inputs[0] != maker.output or any((*pad.before[:2], *pad.after[:2])):
        return None
    widths = zip(convolution.padding, (*pad.before[2:], *pad.after[2:]), strict=True)
    top, left, bottom, right = (inner + outer for inner, outer in widths)
    wider = replace(convolution, padding=(top, left, bottom, right))
    return Fusion(replace(reader, operation=wider, inputs=(maker.inputs[0], *reader.inputs[1:])))
