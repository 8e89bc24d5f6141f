"""Batch norm in evaluation mode, folded into the layer before it.

    conv(w, b) -> affine(scale, shift)    =>    conv(w * scale, b * scale + shift)

The zeros of a pruned weight stay where they are: only whole rows are scaled.
"""

from dataclasses import replace

import torch

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Affine, Convolution, Linear
from spokeshave.compiler.passes.rewrite import producers, uses, with_nodes


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold every `Affine` whose only source is a convolution or linear layer that nothing else reads."""
    made, read = producers(graph), uses(graph)
    folded: dict[str, Node] = {}
    gone: set[str] = set()
    weights: dict[str, torch.Tensor] = {}
    for node in graph.nodes:
        before = made.get(node.inputs[0]) if node.inputs else None
        if not isinstance(node.operation, Affine) or before is None or read[node.inputs[0]] != 1:
            continue
        if _can_take(before, graph):
            folded[before.output] = _fold(graph, before, node, weights)
            gone.add(node.output)
    nodes = [folded.get(node.outputs[0], node) for node in graph.nodes if node.outputs[0] not in gone]
    return with_nodes(graph, nodes, weights)


def _can_take(node: Node, graph: Graph) -> bool:
    operation = node.operation
    if not isinstance(operation, Convolution | Linear) or operation.activation or operation.residual:
        return False
    return isinstance(operation, Convolution) or len(graph.shape(node.output)) == 2


def _fold(graph: Graph, layer: Node, norm: Node, weights: dict[str, torch.Tensor]) -> Node:
    operation, affine = layer.operation, norm.operation
    assert isinstance(operation, Convolution | Linear)
    assert isinstance(affine, Affine)
    scale, shift = graph.weights[affine.scale], graph.weights[affine.shift]
    weight = graph.weights[operation.weight]
    names = f"{norm.output}.weight", f"{norm.output}.bias"
    weights[names[0]] = weight * scale.view(-1, *(1 for _ in weight.shape[1:]))
    weights[names[1]] = shift if operation.bias is None else graph.weights[operation.bias] * scale + shift
    merged = replace(operation, weight=names[0], bias=names[1], activation=affine.activation)
    return replace(layer, operation=merged, outputs=norm.outputs)
