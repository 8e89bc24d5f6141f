"""Integer kernels against the executor, bit for bit, for every instruction set of this CPU."""

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.compiler.quantization.random_layers import has_kernel, joined, layers, single_positions

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import (
    Activation,
    Convolution,
    Dequantize,
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


@settings(
    max_examples=2,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cases=st.lists(
        st.tuples(st.one_of(layers(), single_positions()), st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        min_size=12,
        max_size=12,
    )
)
def test_kernels_equal_the_executor_bit_for_bit(back_end, integer_isa, cases):
    graphs, inputs, activations = [], [], []
    for case, density in cases:
        operation, weights, read = random_case(case, density)
        graph = quantized_graph(operation, weights, case[2], tuple(read[-1][:1].shape))
        if has_kernel(graph):
            graphs, inputs = [*graphs, graph], inputs + read
            activations.append(operation.layer.activation)
    assert_equal(back_end, integer_isa, joined(graphs), inputs, activations)


def test_small_maps_lie_without_gaps(back_end, integer_isa):
    """49 positions are whole vectors and one lane, for vectors of 4, 8 and 16 lanes; 18 leave two, 196 four of 16."""
    padded = {"bias": "b", "padding": (1, 1, 1, 1)}
    cases = [
        (Convolution("w", residual=True, **padded), (22, 9, 3, 3), (1, 9, 7, 7)),
        (Convolution("w", activation=Activation("relu"), **padded), (16, 8, 3, 3), (1, 8, 14, 14)),
        (Convolution("w", stride=(2, 2), **padded), (16, 8, 3, 3), (1, 8, 14, 13)),
        (Convolution("w", bias=None, residual=True), (12, 8, 1, 1), (1, 8, 7, 7)),
        (Convolution("w", bias=None, residual=True), (12, 8, 1, 1), (1, 8, 2, 9)),
    ]
    graphs, inputs = [], []
    for case in cases:
        operation, weights, read = random_case((*case, 0), 0.5)
        graphs, inputs = (
            [*graphs, quantized_graph(operation, weights, case[2], tuple(read[-1][:1].shape))],
            inputs + read,
        )
    assert_equal(back_end, integer_isa, joined(graphs), inputs, [None] * len(cases))


def assert_equal(back_end, isa, graph, inputs, activations):
    for result, expected, activation in zip(
        back_end(graph, inputs, isa), run_reference(graph, inputs), activations, strict=True
    ):
        if activation and activation.kind == "hardswish":  # its roundings are not PyTorch's
            assert torch.allclose(result, expected, atol=1.01 * WRITTEN.scale)
        else:
            assert torch.equal(result, expected)
