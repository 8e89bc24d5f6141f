"""Every operation but convolution against PyTorch, on feature maps, tokens and vectors."""

import pytest
import torch
import torch.nn.functional as F

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import (
    Activate,
    Activation,
    Affine,
    Binary,
    Concatenate,
    Convolution,
    GroupNorm,
    LayerNorm,
    Linear,
    Mean,
    Pad,
    Permute,
    Pool,
    Reshape,
    Slice,
    Softmax,
)
from spokeshave.polynomials import polynomial_gelu, polynomial_sigmoid, polynomial_softmax

MAP, TOKENS, VECTOR = (5, 7, 6), (7, 5), (11,)
SHAPES = [MAP, TOKENS, VECTOR]
RELU = Activation("relu")


def one_node(operation, input_shapes, output_shape, weights=None) -> Graph:
    names = tuple(f"x{i}" for i in range(len(input_shapes)))
    values = {name: Value(name, (1, *shape)) for name, shape in zip(names, input_shapes, strict=True)}
    values["y"] = Value("y", (1, *output_shape))
    return Graph(names, ("y",), values, (Node("layer", operation, names, ("y",)),), weights or {})


def check(back_end, operation, function, shapes, weights=None, tolerance=1e-5) -> None:
    """Run one operation on a batch of three and compare with a function of the batch."""
    torch.manual_seed(0)
    inputs = [torch.randn(3, *shape) for shape in shapes]
    reference = function(*inputs)
    (result,) = back_end(one_node(operation, shapes, reference.shape[1:], weights), inputs)
    assert result.shape == reference.shape
    assert (result - reference).abs().max() <= tolerance * max(1.0, reference.abs().max().item())


ACTIVATIONS = {
    RELU: F.relu,
    Activation("clamp", (-0.5, 0.7)): lambda x: x.clamp(-0.5, 0.7),
    Activation("leaky_relu", (0.1,)): lambda x: F.leaky_relu(x, 0.1),
    Activation("sigmoid"): torch.sigmoid,
    Activation("tanh"): torch.tanh,
    Activation("silu"): F.silu,
    Activation("gelu"): F.gelu,
    Activation("gelu_tanh"): lambda x: F.gelu(x, approximate="tanh"),
    Activation("hardsigmoid"): F.hardsigmoid,
    Activation("hardswish"): F.hardswish,
    Activation("elu", (1.5,)): lambda x: F.elu(x, 1.5),
    Activation("exp"): torch.exp,
    Activation("sign"): lambda x: torch.where(x >= 0, 1.0, -1.0),
    Activation("polynomial_gelu", (0.5,)): polynomial_gelu,
    Activation("polynomial_gelu", (1.0,)): lambda x: polynomial_gelu(x, 1.0),
    Activation("polynomial_sigmoid"): polynomial_sigmoid,
}
ROOTS = {Activation("sqrt"): torch.sqrt, Activation("rsqrt"): torch.rsqrt}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: activation.name)
def test_activation(back_end, activation):
    check(back_end, Activate(activation), ACTIVATIONS[activation], [MAP], tolerance=2e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS | ROOTS, ids=lambda activation: activation.name)
def test_activation_at_the_edges_of_float32(back_end, activation):
    x = torch.tensor([[0.0, -0.0, 1e-30, -1e-30, 100.0, -100.0, 3e4, -3e4, 1e30, -1e30, float("nan")]])
    (result,) = back_end(one_node(Activate(activation), [VECTOR], VECTOR), [x])
    torch.testing.assert_close(
        result, (ACTIVATIONS | ROOTS)[activation](x), rtol=2e-5, atol=2e-6, equal_nan=True
    )


@pytest.mark.parametrize("form", ["gelu", "gelu_tanh"])
def test_gelu_is_within_two_millionths_everywhere(back_end, isa, form):
    x = torch.linspace(-7, 7, 40001)[None]
    (result,) = back_end(one_node(Activate(Activation(form)), [(x.shape[1],)], (x.shape[1],)), [x], isa)
    exact = ACTIVATIONS[Activation(form)](x.double())
    assert (result - exact).abs().max() <= 2e-6


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
def test_binary_of_equal_shapes(back_end, kind, shape):
    function = {"subtract": torch.sub, "divide": torch.div, "multiply": torch.mul}.get(kind) or getattr(
        torch, kind
    )
    check(
        back_end,
        Binary(kind, activation=RELU),
        lambda a, b: F.relu(function(a, b)),
        [shape, shape],
        tolerance=1e-4,
    )


def test_binary_with_one_number_per_channel(back_end):
    check(back_end, Binary("multiply"), torch.mul, [MAP, (5, 1, 1)])
    check(back_end, Binary("subtract"), torch.sub, [(5, 1, 1), MAP])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_binary_with_constants(back_end, shape, reverse):
    for constant in (
        torch.tensor(1.5),
        torch.randn(shape[-1]),
        torch.randn(1, *shape),
        torch.randn(shape[0], *[1] * (len(shape) - 1)),
    ):
        function = (lambda x, c=constant: c - x) if reverse else (lambda x, c=constant: x - c)
        check(back_end, Binary("subtract", "c", reverse), function, [shape], {"c": constant})


def test_affine(back_end):
    weights = {"s": torch.randn(5), "t": torch.randn(5)}
    operation = Affine("s", "t", RELU)
    check(
        back_end,
        operation,
        lambda x: F.relu(x * weights["s"][:, None, None] + weights["t"][:, None, None]),
        [MAP],
        weights,
    )
    check(back_end, operation, lambda x: F.relu(x * weights["s"] + weights["t"]), [(5,)], weights)


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("rows", [1, 8, 37])
@pytest.mark.parametrize("shape", [(19,), (7, 19)], ids=["vector", "tokens"])
def test_linear(back_end, shape, rows, density):
    weights = {"w": torch.randn(rows, 19) * (torch.rand(rows, 19) < density), "b": torch.randn(rows)}
    residual = (*shape[:-1], rows)
    operation = Linear("w", "b", residual=True, activation=RELU)
    check(
        back_end,
        operation,
        lambda x, r: F.relu(F.linear(x, weights["w"], weights["b"]) + r),
        [shape, residual],
        weights,
    )


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("counted", [False, True])
def test_pool(back_end, ceil, counted):
    padding = (1, 1, 1, 1)
    check(
        back_end,
        Pool("max", (3, 3), (2, 2), padding),
        lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=ceil),
        [MAP],
    )
    check(
        back_end,
        Pool("max", (2, 2), (1, 1), (0, 0, 0, 0), (2, 2)),
        lambda x: F.max_pool2d(x, 2, 1, 0, 2),
        [MAP],
    )
    average = lambda x: F.avg_pool2d(x, 3, 2, 1, ceil, counted)  # noqa: E731
    check(back_end, Pool("average", (3, 3), (2, 2), padding, count_padding=counted), average, [MAP])


def test_max_pool_keeps_nan(back_end):
    x = torch.randn(1, 1, 4, 4)
    x[0, 0, 1, 2] = torch.nan
    (result,) = back_end(one_node(Pool("max", (2, 2), (2, 2)), [(1, 4, 4)], (1, 2, 2)), [x])
    assert torch.equal(result.isnan(), F.max_pool2d(x, 2).isnan())


def test_mean(back_end):
    check(back_end, Mean((2, 3), False), lambda x: x.mean((2, 3)), [MAP])
    check(back_end, Mean((2, 3), True), lambda x: x.mean((2, 3), keepdim=True), [MAP])
    check(back_end, Mean((1,), False), lambda x: x.mean(1), [TOKENS])


@pytest.mark.parametrize("logarithm", [False, True])
def test_softmax(back_end, logarithm):
    function = F.log_softmax if logarithm else F.softmax
    for shape, axis in ((MAP, 1), (TOKENS, 2), (VECTOR, 1)):
        check(back_end, Softmax(axis, logarithm), lambda x, a=axis: function(x, a), [shape])


@pytest.mark.parametrize("total", [1.0, 0.5])
def test_polynomial_softmax(back_end, total):
    for shape, axis in ((MAP, 1), (TOKENS, 2), ((19,), 1)):
        operation = Softmax(axis, polynomial=total)
        check(back_end, operation, lambda x, a=axis: polynomial_softmax(x, a, total), [shape], tolerance=1e-4)


def test_layer_norm(back_end):
    weights = {"w": torch.randn(5), "b": torch.randn(5)}
    operation = LayerNorm(1, "w", "b", 1e-5)
    check(back_end, operation, lambda x: F.layer_norm(x, (5,), weights["w"], weights["b"]), [TOKENS], weights)
    check(back_end, LayerNorm(1, None, None, 1e-5), lambda x: F.layer_norm(x, (11,)), [VECTOR])


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_group_norm(back_end, groups):
    weights = {"w": torch.randn(6), "b": torch.randn(6)}
    function = lambda x: F.group_norm(x, groups, weights["w"], weights["b"])  # noqa: E731
    check(back_end, GroupNorm(groups, "w", "b", 1e-5), function, [(6, 5, 3)], weights)


def test_reshape_between_all_layouts(back_end):
    for before, after in (
        (MAP, (210,)),
        ((210,), MAP),
        (MAP, (35, 6)),
        ((42, 5), (10, 3, 7)),
        (MAP, (6, 5, 7)),
    ):
        check(back_end, Reshape(), lambda x, a=after: x.reshape(-1, *a), [before])


def test_permute(back_end):
    check(back_end, Permute((0, 3, 1, 2)), lambda x: x.permute(0, 3, 1, 2), [MAP])
    check(back_end, Permute((0, 2, 1)), lambda x: x.permute(0, 2, 1), [TOKENS])


def test_slice_pad_and_concatenate(back_end):
    check(back_end, Slice(2, 1, 6, 2), lambda x: x[:, :, 1:6:2], [MAP])
    check(back_end, Slice(1, 2, 9, 3), lambda x: x[:, 2:9:3], [VECTOR])
    check(
        back_end,
        Pad((0, 1, 0, 2), (0, 2, 1, 0), 0.5),
        lambda x: F.pad(x, (2, 0, 0, 1, 1, 2), value=0.5),
        [MAP],
    )
    check(back_end, Concatenate(1), lambda a, b: torch.cat([a, b], 1), [MAP, (3, 7, 6)])
    check(back_end, Concatenate(3), lambda a, b: torch.cat([a, b], 3), [MAP, (5, 7, 2)])
    check(back_end, Concatenate(1), lambda a, b: torch.cat([a, b], 1), [TOKENS, (2, 5)])


def test_neighbouring_channels_are_read_in_place(back_end):
    """A slice of a slice, read by a padded convolution after other values have come and gone."""
    weights = {"w": torch.randn(2, 2, 3, 3), "e": torch.randn(4, 2, 1, 1)}
    shapes = {
        "x": MAP,
        "r": MAP,
        "s": (3, 7, 6),
        "t": (2, 7, 6),
        "a": (4, 7, 6),
        "b": (4, 7, 6),
        "y": (2, 7, 6),
    }
    nodes = (
        Node("relu", Activate(RELU), ("x",), ("r",)),
        Node("slice", Slice(1, 2, 5, 1), ("r",), ("s",)),
        Node("slice", Slice(1, 1, 3, 1), ("s",), ("t",)),
        Node("one", Convolution("e", None), ("t",), ("a",)),
        Node("two", Activate(Activation("silu")), ("a",), ("b",)),
        Node("three", Convolution("w", None, padding=(1, 1, 1, 1)), ("t",), ("y",)),
    )
    values = {name: Value(name, (1, *shape)) for name, shape in shapes.items()}
    x = torch.randn(2, *MAP)
    y, b, s = back_end(Graph(("x",), ("y", "b", "s"), values, nodes, weights), [x])
    t = F.relu(x)[:, 3:5]
    torch.testing.assert_close(y, F.conv2d(t, weights["w"], padding=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(b, F.silu(F.conv2d(t, weights["e"])), rtol=1e-5, atol=1e-5)
    assert torch.equal(s, F.relu(x)[:, 2:5])
