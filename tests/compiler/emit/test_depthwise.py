"""Depthwise convolutions against PyTorch: odd sizes, strides, dilations, channel multipliers, narrow maps."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.compiler.emit.test_convolution import assert_close, convolution_graph, expected, sizes

from spokeshave.compiler.emit.lower import lower, supports
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.operations import Activation, Convolution
from spokeshave.compiler.reference import run_reference


@st.composite
def cases(draw):
    channels = draw(st.integers(2, 5))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride = draw(st.sampled_from([1, 2]))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2))) if stride == 1 else (1, 1)
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    size = draw(sizes(kernel, dilation, padding, least=2, more=40))
    operation = Convolution(
        "w",
        draw(st.sampled_from(["b", None])),
        (stride, stride),
        padding,
        dilation,
        channels,
        draw(st.booleans()),
        draw(st.sampled_from([None, Activation("relu")])),
    )
    multiplier = draw(st.sampled_from([1, 1, 2]))
    return operation, (channels * multiplier, 1, *kernel), size, draw(st.integers(0, 2**31))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_depthwise_convolution_equals_pytorch(back_end, isa, case):
    operation, shape, size, seed = case
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(shape, generator=generator), torch.randn(shape[0], generator=generator)
    graph = convolution_graph(weight, bias, size, operation)
    x = torch.randn(2, *graph.shape("x")[1:], generator=generator)
    residual = torch.randn(2, *graph.shape("y")[1:], generator=generator) if operation.residual else None
    if supports(graph.nodes[0], graph) is not None:
        return
    (result,) = back_end(graph, [x] if residual is None else [x, residual], isa)
    assert_close(result, expected(weight, bias if operation.bias else None, operation, x, residual))


@pytest.mark.parametrize(
    ("stride", "size", "kind"), [(1, 30, "s1"), (1, 7, "s1_masked"), (2, 9, "s2"), (2, 7, "s2")]
)
def test_depthwise_layers_have_a_kernel_of_their_own_and_move_no_element(stride, size, kind):
    operation = Convolution("w", None, (stride, stride), (1, 1, 1, 1), groups=6)
    graph = convolution_graph(torch.randn(6, 1, 3, 3), None, (size, size), operation)
    (step,) = [step for step in lower(graph, instruction_set("avx512"), {}).steps if step.layer == "layer"]
    assert [call.function for call in step.calls] == [f"depthwise_3x3_{kind}_plain"]


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (3, 5)])
@pytest.mark.parametrize(("kernel", "padding"), [((3, 3), 1), ((5, 5), 2), ((1, 3), 1)])
def test_small_maps_lie_without_gaps_between_their_rows(back_end, isa, size, kernel, padding):
    torch.manual_seed(0)
    operation = Convolution("w", "b", padding=(kernel[0] // 2, padding) * 2, groups=6, residual=True)
    weight, bias = torch.randn(6, 1, *kernel), torch.randn(6)
    x, residual = torch.randn(2, 6, *size), torch.randn(2, 6, *size)
    (result,) = back_end(convolution_graph(weight, bias, size, operation), [x, residual], isa)
    assert_close(result, expected(weight, bias, operation, x, residual))


@pytest.mark.parametrize("size", [(7, 7), (8, 23), (40, 40)])
def test_what_a_strided_layer_leaves_between_its_rows_is_zero_to_the_next(back_end, isa, size):
    """Memory is used again: where this layer writes, wide maps without its gaps have been."""
    torch.manual_seed(0)
    layers = [(8, 1, 1), (8, 8, 1), (8, 1, 1), (8, 8, 2), (8, 8, 1)]  # outputs, groups, stride
    values, weights, nodes, shape = {"v0": Value("v0", (1, 8, *size))}, {}, [], (1, 8, *size)
    for index, (rows, groups, stride) in enumerate(layers):
        weights[f"w{index}"] = torch.randn(rows, shape[1] // groups, 3, 3)
        shape = (1, rows, *(-(-side // stride) for side in shape[2:]))
        values[f"v{index + 1}"] = Value(f"v{index + 1}", shape)
        operation = Convolution(f"w{index}", None, (stride, stride), (1, 1, 1, 1), groups=groups)
        nodes.append(Node("layer", operation, (f"v{index}",), (f"v{index + 1}",)))
    graph = Graph(("v0",), (nodes[-1].output,), values, tuple(nodes), weights)
    x = torch.randn(1, 8, *size)
    assert_close(back_end(graph, [x], isa)[0], run_reference(graph, [x])[0])
