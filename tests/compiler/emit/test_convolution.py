"""Convolutions of every shape against PyTorch, for every instruction set of this CPU."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spokeshave.compiler.emit.lower import supports
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import Activation, Convolution

RELATIVE_TOLERANCE = 1e-5


def convolution_graph(weight, bias, size, operation, residual_shape=None):
    """A graph of one convolution."""
    channels = weight.shape[1] * operation.groups
    top, left, bottom, right = operation.padding
    with torch.no_grad():
        padded = F.pad(torch.zeros(1, channels, *size), (left, right, top, bottom))
        out = F.conv2d(padded, weight, None, operation.stride, 0, operation.dilation, operation.groups)
    values = {"x": Value("x", (1, channels, *size)), "y": Value("y", tuple(out.shape))}
    inputs = ("x",)
    if operation.residual:
        values["r"] = Value("r", tuple(out.shape))
        inputs = ("x", "r")
    weights = {"w": weight} | ({"b": bias} if operation.bias else {})
    node = Node("layer", operation, inputs, ("y",))
    return Graph(inputs, ("y",), values, (node,), weights)


def expected(weight, bias, operation, x, residual=None):
    top, left, bottom, right = operation.padding
    padded = F.pad(x, (left, right, top, bottom))
    y = F.conv2d(padded, weight, bias, operation.stride, 0, operation.dilation, operation.groups)
    y = y + residual if residual is not None else y
    return F.relu(y) if operation.activation else y


def assert_close(result, reference):
    assert result.shape == reference.shape
    scale = reference.abs().amax().clamp(min=1e-3) if reference.numel() else 0
    assert not reference.numel() or (result - reference).abs().max() <= RELATIVE_TOLERANCE * scale


@st.composite
def sizes(draw, kernel, dilation, padding, least, more):
    """Rows and columns of a map that the kernel fits into, at least `least` and up to `more` above what is needed."""
    needed = [
        max(least, (k - 1) * d + 1 - before - after)
        for k, d, before, after in zip(kernel, dilation, padding[:2], padding[2:], strict=True)
    ]
    return tuple(draw(st.integers(low, low + more)) for low in needed)


@st.composite
def cases(draw):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    per_group, rows = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    size = draw(sizes(kernel, dilation, padding, least=1, more=12))
    operation = Convolution(
        "w",
        draw(st.sampled_from(["b", None])),
        draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        padding,
        dilation,
        groups,
        draw(st.booleans()),
        draw(st.sampled_from([None, Activation("relu")])),
    )
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    return operation, (rows * groups, per_group, *kernel), size, density, draw(st.integers(0, 2**31))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_convolution_equals_pytorch(back_end, isa, case):
    operation, shape, size, density, seed = case
    generator, samples = torch.Generator().manual_seed(seed), seed % 4
    weight = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < density)
    bias = torch.randn(shape[0], generator=generator)
    graph = convolution_graph(weight, bias, size, operation)
    x = torch.randn(samples, *graph.shape("x")[1:], generator=generator)
    residual = (
        torch.randn(samples, *graph.shape("y")[1:], generator=generator) if operation.residual else None
    )
    reason = supports(graph.nodes[0], graph)
    if reason is not None:
        assert operation.groups > 1 or "a 1 x 1 map that grows" in reason, reason
        return
    (result,) = back_end(graph, [x] if residual is None else [x, residual], isa)
    assert_close(result, expected(weight, bias if operation.bias else None, operation, x, residual))


@pytest.mark.parametrize(
    ("kernel", "options", "size"),
    [
        ((3, 3), {"padding": (1, 1, 1, 1)}, (7, 7)),  # 49 positions: whole vectors and one lane
        ((3, 5), {"padding": (1, 2, 1, 2), "residual": True}, (14, 14)),
        ((3, 3), {"padding": (0, 2, 2, 1), "groups": 2}, (7, 6)),
        ((3, 3), {"padding": (1, 1, 1, 1), "stride": (2, 2), "residual": True}, (13, 14)),
        ((5, 2), {"padding": (2, 0, 2, 1), "stride": (1, 3)}, (7, 20)),
        ((1, 1), {"residual": True}, (7, 7)),
        ((1, 1), {"residual": True}, (14, 14)),  # vectors of 16, and 4 lanes
        ((1, 1), {}, (9, 13)),  # 5 lanes
        ((1, 1), {"groups": 2}, (2, 9)),  # 2 lanes, for vectors of 4 and 8 as well
        ((3, 3), {"padding": (3, 80, 3, 80), "dilation": (3, 80)}, (7, 7)),
    ],
)
def test_small_maps_lie_without_gaps(back_end, isa, kernel, options, size):
    operation = Convolution("w", "b", activation=Activation("relu"), **options)
    weight, bias = torch.randn(22, 6 // operation.groups, *kernel), torch.randn(22)
    graph = convolution_graph(weight, bias, size, operation)
    x = torch.randn(2, 6, *size)
    residual = torch.randn(2, *graph.shape("y")[1:]) if operation.residual else None
    (result,) = back_end(graph, [x] if residual is None else [x, residual], isa)
    assert_close(result, expected(weight, bias, operation, x, residual))


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (14, 5)])
def test_global_kernel_is_a_matrix_times_a_vector(back_end, isa, size):
    operation = Convolution("w", "b", activation=Activation("relu"))
    weight, bias = torch.randn(21, 6, *size), torch.randn(21)
    graph = convolution_graph(weight, bias, size, operation)
    x = torch.randn(3, 6, *size)
    (result,) = back_end(graph, [x], isa)
    assert_close(result, expected(weight, bias, operation, x))


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"padding": (1, 1, 1, 1)}),
        (2, {"padding": (1, 1, 1, 1), "dilation": (2, 2)}),  # no tap lies on the map
        (1, {"padding": (2, 2, 2, 2), "stride": (5, 5)}),  # nor here
    ],
)
def test_on_a_single_position_a_kernel_uses_the_tap_that_lies_there(back_end, isa, kernel, options):
    operation = Convolution("w", None, **options)
    weight = torch.randn(9, 5, kernel, kernel)
    x = torch.randn(2, 5, 1, 1)
    (result,) = back_end(convolution_graph(weight, None, (1, 1), operation), [x], isa)
    assert_close(result, expected(weight, None, operation, x))


@pytest.mark.parametrize(
    ("operation", "shape", "size"),
    [
        (Convolution("w", "b", (2, 2), (1, 1, 1, 1), groups=6), (6, 1, 3, 3), (2, 2)),
        (Convolution("w", "b", (1, 1), (0, 1, 0, 0), (2, 1), groups=2), (8, 3, 2, 2), (3, 1)),
        (Convolution("w", "b", (3, 3), activation=Activation("relu")), (5, 4, 2, 3), (4, 5)),
    ],
)
def test_one_position_out_of_a_map(back_end, isa, operation, shape, size):
    weight, bias = torch.randn(shape), torch.randn(shape[0])
    graph = convolution_graph(weight, bias, size, operation)
    assert graph.shape("y")[2:] == (1, 1)
    x = torch.randn(2, shape[1] * operation.groups, *size)
    (result,) = back_end(graph, [x], isa)
    assert_close(result, expected(weight, bias, operation, x))


@pytest.mark.parametrize("width", [6, 9, 17, 31, 34, 71])
def test_every_second_column_of_maps_of_any_width(back_end, isa, width):
    operation = Convolution("w", None, (2, 2), (1, 1, 1, 1))
    weight, x = torch.randn(4, 3, 3, 3), torch.randn(2, 3, 5, width)
    (result,) = back_end(convolution_graph(weight, None, (5, width), operation), [x], isa)
    assert_close(result, expected(weight, None, operation, x))
