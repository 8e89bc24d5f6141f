"""Batch norm in evaluation mode, folded into the layer before it.

    conv(w, b) -> affine(scale, shift)    =>    conv(w * scale, b * scale + shift)

The zeros of a pruned weight stay where they are: only whole rows are scaled.
"""

from dataclasses import replace

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Affine, Convolution, Linear
from spokeshave.compiler.passes.rewrite import Fusion, fuse_pairs


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold every `Affine` whose input is made by a convolution or linear layer and read by nothing else."""
    return fuse_pairs(graph, _fold)


def _fold(graph: Graph, maker: Node, norm: Node) -> Fusion | None:
    layer, affine = maker.operation, norm.operation
    if not isinstance(affine, Affine) or not isinstance(layer, Convolution | Linear):
        return None
    if layer.activation or layer.residual:
        return None
    scale, shift = graph.weights[affine.scale].double(), graph.weights[affine.shift].double()
    weight = graph.weights[layer.weight].double()
    scaled = weight * scale.reshape(-1, *(1 for _ in weight.shape[1:]))
    bias = shift if layer.bias is None else graph.weights[layer.bias].double() * scale + shift
    names = f"{layer.weight} in {norm.output}", f"bias in {norm.output}"
    folded = replace(layer, weight=names[0], bias=names[1], activation=affine.activation)
    weights = {names[0]: scaled.float(), names[1]: bias.float()}
    return Fusion(replace(maker, operation=folded, outputs=norm.outputs), weights)
