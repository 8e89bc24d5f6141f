"""Random layers for tests of low-precision kernels, many in one graph."""

from dataclasses import replace

from hypothesis import strategies as st

from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.operations import Activation, Convolution, Linear, Quantized, Rounded


@st.composite
def layers(draw):
    """Any convolution or linear layer that has a kernel, its weight's shape, the shape it reads, and a seed."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 7]))
    per_group, rows = draw(st.integers(1, 9)), draw(st.integers(1, 12)) * groups
    activation = draw(
        st.sampled_from([None, Activation("relu"), Activation("clamp", (0.0, 6.0)), Activation("hardswish")])
    )
    bias, residual = draw(st.sampled_from(["b", None])), draw(st.booleans())
    if draw(st.booleans()):
        kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
        dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
        least = [
            max(1, (k - 1) * d + 1 - before - after)
            for k, d, before, after in zip(kernel, dilation, padding[:2], padding[2:], strict=True)
        ]
        size = tuple(draw(st.integers(low, low + 12)) for low in least)
        stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        layer = Convolution("w", bias, stride, padding, dilation, groups, residual, activation)
        return layer, (rows, per_group, *kernel), (1, per_group * groups, *size), draw(st.integers(0, 2**31))
    layer = Linear("w", bias, residual, activation)
    tokens, columns = draw(st.integers(2, 40)), draw(st.one_of(st.just(per_group), st.integers(1, 150)))
    return layer, (rows, columns), (1, tokens, columns), draw(st.integers(0, 2**31))


@st.composite
def single_positions(draw):
    """The same for a linear layer over one position, more often than not with several panels."""
    activation = draw(st.sampled_from([None, Activation("relu"), Activation("hardswish")]))
    layer = Linear("w", draw(st.sampled_from(["b", None])), draw(st.booleans()), activation)
    rows, columns = draw(st.integers(1, 150)), draw(st.integers(1, 70))
    return layer, (rows, columns), (1, columns), draw(st.integers(0, 2**31))


def has_kernel(graph):
    """Whether convolutions and their maps have more than one position."""
    shapes = [graph.shape(name) for node in graph.nodes for name in (*node.inputs, *node.outputs)]
    return all(len(shape) < 4 or shape[2] * shape[3] > 1 for shape in shapes)


def joined(graphs):
    """Many graphs as one, so that one library is built for all."""
    name = lambda i, text: f"{i}.{text}"  # noqa: E731
    nodes, values, weights = [], {}, {}
    for i, graph in enumerate(graphs):
        values |= {name(i, key): replace(value, name=name(i, key)) for key, value in graph.values.items()}
        weights |= {name(i, key): tensor for key, tensor in graph.weights.items()}
        nodes += [_renamed(node, lambda text, i=i: name(i, text)) for node in graph.nodes]
    inputs = tuple(name(i, read) for i, graph in enumerate(graphs) for read in graph.inputs)
    return Graph(inputs, tuple(name(i, "y") for i in range(len(graphs))), values, tuple(nodes), weights)


def _renamed(node, name):
    operation = node.operation
    if isinstance(operation, Quantized | Rounded):
        layer = operation.layer
        layer = replace(layer, weight=name(layer.weight), bias=name(layer.bias) if layer.bias else None)
        operation = replace(operation, layer=layer)
    if isinstance(operation, Quantized):
        operation = replace(operation, weight_scale=name(operation.weight_scale))
    return Node(node.layer, operation, tuple(map(name, node.inputs)), tuple(map(name, node.outputs)))
