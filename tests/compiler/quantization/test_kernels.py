"""Integer kernels against the executor, bit for bit, for every instruction set of this CPU."""

from dataclasses import replace

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import (
    Activation,
    Convolution,
    Dequantize,
    Linear,
    Quantization,
    Quantize,
    Quantized,
)
from spokeshave.compiler.quantization.executor import run_quantized
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.verify import verify

READ, RESIDUAL, WRITTEN = Quantization(0.02, 3), Quantization(0.03, 128), Quantization(0.05, 7)


def quantized_graph(operation, weights, shape, residual_shape=None):
    """x (and r) float32, converted; the layer; its output converted back and given as `y`, or `y` itself."""
    layer = operation.layer
    values = {"x": Value("x", shape), "xq": Value("xq", shape, "uint8")}
    nodes = [Node("", Quantize(operation.input), ("x",), ("xq",))]
    inputs, read = ("x",), ("xq",)
    sample = [torch.zeros(shape, dtype=torch.uint8)]
    if layer.residual:
        values["r"] = Value("r", residual_shape)
        inputs, read = ("x", "r"), ("xq", "r")
        if operation.residual:
            values["rq"] = Value("rq", residual_shape, "uint8")
            nodes.append(Node("", Quantize(operation.residual), ("r",), ("rq",)))
            read = ("xq", "rq")
        sample.append(torch.zeros(residual_shape))
    out = tuple(run_quantized(operation, weights, *sample).shape)
    values["y"] = Value("y", out)
    made = "yq" if operation.output else "y"
    nodes.append(Node("layer", operation, read, (made,)))
    if operation.output:
        values["yq"] = Value("yq", out, "uint8")
        nodes.append(Node("", Dequantize(operation.output), ("yq",), ("y",)))
    return verify(Graph(inputs, ("y",), values, tuple(nodes), weights))


@st.composite
def layers(draw):
    """Any integer convolution or linear layer that has a kernel, the shape it reads, and a seed."""
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
    tokens = draw(st.integers(2, 40))
    return layer, (rows, per_group), (1, tokens, per_group), draw(st.integers(0, 2**31))


def random_case(case, density):
    """The operation, its weights, and inputs."""
    layer, shape, read, seed = case
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
    weight[torch.rand(shape, generator=generator) > density] = 0
    weights = {"w": weight, "s": torch.rand(shape[0], generator=generator) * 0.02 + 1e-4}
    if layer.bias:
        weights["b"] = torch.randn(shape[0], generator=generator)
    pick = lambda *options: options[int(torch.randint(len(options), (1,), generator=generator))]  # noqa: E731
    zero = lambda quantization: Quantization(quantization.scale, pick(0, quantization.zero_point))  # noqa: E731
    operation = Quantized(
        layer,
        "s",
        zero(READ),
        pick(RESIDUAL, None) if layer.residual else None,
        pick(zero(WRITTEN), zero(WRITTEN), None),
    )
    out = run_quantized(
        Quantized(type(layer)(**(vars(layer) | {"residual": False})), "s", READ, None, None),
        weights,
        torch.zeros(read, dtype=torch.uint8),
    ).shape
    inputs = [torch.randn(2, *read[1:], generator=generator)]
    inputs += [torch.randn(2, *out[1:], generator=generator)] * layer.residual
    return operation, weights, inputs


def has_kernel(graph):
    """Whether layer and values have more than one position."""
    shapes = [graph.shape(name) for node in graph.nodes for name in (*node.inputs, *node.outputs)]
    return all(len(shape) == 3 or shape[2] * shape[3] > 1 for shape in shapes)


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
    if isinstance(operation, Quantized):
        layer = operation.layer
        layer = replace(layer, weight=name(layer.weight), bias=name(layer.bias) if layer.bias else None)
        operation = replace(operation, layer=layer, weight_scale=name(operation.weight_scale))
    return Node(node.layer, operation, tuple(map(name, node.inputs)), tuple(map(name, node.outputs)))


@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cases=st.lists(st.tuples(layers(), st.sampled_from([0.0, 0.1, 0.5, 1.0])), min_size=12, max_size=12))
def test_kernels_equal_the_executor_bit_for_bit(back_end, integer_isa, cases):
    graphs, inputs, activations = [], [], []
    for case, density in cases:
        operation, weights, read = random_case(case, density)
        graph = quantized_graph(operation, weights, case[2], tuple(read[-1][:1].shape))
        if has_kernel(graph):
            graphs, inputs = [*graphs, graph], inputs + read
            activations.append(operation.layer.activation)
    graph = joined(graphs)
    for result, expected, activation in zip(
        back_end(graph, inputs, integer_isa), run_reference(graph, inputs), activations, strict=True
    ):
        if activation and activation.kind == "hardswish":  # its roundings are not PyTorch's
            assert torch.allclose(result, expected, atol=1.01 * WRITTEN.scale)
        else:
            assert torch.equal(result, expected)
