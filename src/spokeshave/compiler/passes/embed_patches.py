"""Embeddings of image patches become one linear layer over tokens.

    convolution, kernel = stride -> reshape -> permute    =>    patches -> linear
    patches -> linear -> pad in front -> add constant     =>    patches behind zeros -> linear with a constant residual

The second form holds the bias in the constant: tokens of zeros, such as a class token's place, get none.
"""

from dataclasses import replace

import torch.nn.functional as F

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import (
    Binary,
    Constant,
    Convolution,
    Linear,
    Pad,
    Patches,
    Permute,
    Reshape,
)
from spokeshave.compiler.passes.rewrite import Fusion, Rewriting, fuse_pairs, uses


def cut_patches(graph: Graph) -> Graph:
    """The first form, wherever nothing else reads what the convolution makes."""
    rewriting, read = Rewriting(graph), uses(graph)
    for node in graph.nodes:
        convolution = _patch_convolution(rewriting, read, node)
        rewriting.nodes.append(_linear(rewriting, convolution, node) if convolution else node)
    return rewriting.finished()


def _patch_convolution(rewriting: Rewriting, read: dict[str, int], node: Node) -> Node | None:
    """The convolution whose map a permutation turns into tokens."""
    if not isinstance(node.operation, Permute) or node.operation.axes != (0, 2, 1):
        return None
    reshape = rewriting.maker(node.inputs[0], Reshape)
    maker = rewriting.maker(reshape.inputs[0], Convolution) if reshape else None
    if reshape is None or maker is None or max(read[reshape.output], read[maker.output]) > 1:
        return None
    convolution, shape = maker.operation, rewriting.values[maker.output].shape
    assert isinstance(convolution, Convolution)
    kernel = tuple(rewriting.weights[convolution.weight].shape[2:])
    size = rewriting.values[maker.inputs[0]].shape[2:]
    cuts = kernel == convolution.stride and not any(convolution.padding) and convolution.dilation == (1, 1)
    whole = all(length % side == 0 for length, side in zip(size, kernel, strict=True))
    plain = convolution.groups == 1 and not convolution.residual and convolution.activation is None
    tokens = rewriting.values[reshape.output].shape == (1, shape[1], shape[2] * shape[3])
    return maker if cuts and whole and plain and tokens else None


def _linear(rewriting: Rewriting, maker: Node, node: Node) -> Node:
    convolution = maker.operation
    assert isinstance(convolution, Convolution)
    weight, matrix = rewriting.weights[convolution.weight], f"{convolution.weight} as a matrix"
    rewriting.weights[matrix] = weight.flatten(1)
    tokens = rewriting.values[node.output].shape[1]
    shape = (1, tokens, weight[0].numel())
    patches = rewriting.add(maker, Patches(*weight.shape[2:]), maker.inputs, shape)
    return Node(maker.layer, Linear(matrix, convolution.bias), (patches,), node.outputs)


def merge_constants(graph: Graph) -> Graph:
    """Constants that are added one after the other are one."""
    return fuse_pairs(graph, _merged)


def _merged(graph: Graph, maker: Node, reader: Node) -> Fusion | None:
    first, second = maker.operation, reader.operation
    if not isinstance(first, Binary) or not isinstance(second, Binary) or first.activation:
        return None
    if (first.kind, second.kind) != ("add", "add") or first.constant is None or second.constant is None:
        return None
    total = graph.weights[first.constant] + graph.weights[second.constant]
    name = f"{first.constant} + {second.constant}"
    return Fusion(
        Node(reader.layer, replace(second, constant=name), maker.inputs, reader.outputs), {name: total}
    )


def add_to_patches(graph: Graph) -> Graph:
    """The second form, wherever nothing else reads what is between."""
    rewriting, read = Rewriting(graph), uses(graph)
    for node in graph.nodes:
        rewriting.nodes.append(_with_constant(rewriting, read, node) or node)
    return rewriting.finished()


def _with_constant(rewriting: Rewriting, read: dict[str, int], node: Node) -> Node | None:
    total, made = node.operation, rewriting.maker(node.inputs[0], Pad, Linear) if node.inputs else None
    if not isinstance(total, Binary) or total.kind != "add" or total.constant is None or made is None:
        return None
    before = _tokens_before(made)
    layer = made if isinstance(made.operation, Linear) else rewriting.maker(made.inputs[0], Linear)
    patches = rewriting.maker(layer.inputs[0], Patches) if layer else None
    if before is None or layer is None or patches is None:
        return None
    linear, cut = layer.operation, patches.operation
    assert isinstance(linear, Linear)
    assert isinstance(cut, Patches)
    if linear.residual or linear.activation or max(read[one.output] for one in (made, layer, patches)) > 1:
        return None
    shape = rewriting.values[node.output].shape
    constant = rewriting.weights[total.constant].expand(shape)
    if linear.bias is not None:
        bias = rewriting.weights[linear.bias].expand(1, shape[1] - before, shape[2])
        constant = constant + F.pad(bias, (0, 0, before, 0))
    name = f"{node.output} constant"
    rewriting.weights[name] = constant.contiguous()
    tokens = (1, shape[1], rewriting.values[patches.output].shape[2])
    behind = rewriting.add(layer, replace(cut, before=before), patches.inputs, tokens)
    added = rewriting.add(layer, Constant(name), (), shape)
    operation = replace(linear, bias=None, residual=True, activation=total.activation)
    return Node(layer.layer, operation, (behind, added), node.outputs)


def _tokens_before(node: Node) -> int | None:
    """How many tokens of zeros a node puts in front of others; None where it pads in another way."""
    pad = node.operation
    if not isinstance(pad, Pad):
        return 0
    elsewhere = any((*pad.before[:1], *pad.before[2:], *pad.after))
    return None if elsewhere or pad.value != 0 or len(pad.before) != 3 else pad.before[1]
