"""What is read by number against PyTorch: embeddings, elements at constant places, choices, repetitions."""

import pytest
import torch
import torch.nn.functional as F

from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.operations import (
    Activate,
    Activation,
    Binary,
    Constant,
    Convert,
    Embedding,
    Expand,
    Linear,
    Patches,
    Reshape,
    Take,
    Where,
)
from spokeshave.compiler.reference import run_reference


def run(back_end, operation, inputs, weights, shape, isa=None):
    names = tuple(f"x{i}" for i in range(len(inputs)))
    values = {
        name: Value(name, (1, *tensor.shape[1:]), str(tensor.dtype)[6:])
        for name, tensor in zip(names, inputs, strict=True)
    }
    values["y"] = Value("y", (1, *shape))
    (result,) = back_end(
        Graph(names, ("y",), values, (Node("layer", operation, names, ("y",)),), weights), inputs, isa
    )
    return result


@pytest.mark.parametrize("tokens", [1, 16, 35])
def test_embedding(back_end, isa, tokens):
    table, numbers = torch.randn(23, 7), torch.randint(0, 23, (3, tokens))
    result = run(back_end, Embedding("table"), [numbers], {"table": table}, (tokens, 7), isa)
    assert torch.equal(result, F.embedding(numbers, table))


def test_embedding_of_reshaped_numbers(back_end):
    table, numbers = torch.randn(23, 7), torch.randint(0, 23, (2, 3, 5))
    values = {
        "x": Value("x", (1, 3, 5), "int64"),
        "row": Value("row", (1, 15), "int64"),
        "y": Value("y", (1, 15, 7)),
    }
    nodes = (Node("a", Reshape(), ("x",), ("row",)), Node("b", Embedding("table"), ("row",), ("y",)))
    (result,) = back_end(Graph(("x",), ("y",), values, nodes, {"table": table}), [numbers])
    assert torch.equal(result, F.embedding(numbers.reshape(2, 15), table))


@pytest.mark.parametrize("shape", [(6, 5), (4, 6, 5), (6,)], ids=str)
def test_take(back_end, shape):
    x = torch.randn(2, *shape)
    for axis in range(1, len(shape) + 1):
        places = torch.randint(0, x.shape[axis], (9,))
        wanted = x.index_select(axis, places)
        result = run(back_end, Take(axis, "places"), [x], {"places": places}, wanted.shape[1:])
        assert torch.equal(result, wanted)


def test_expand(back_end):
    x = torch.randn(2, 1, 5, 1)
    assert torch.equal(run(back_end, Expand(), [x], {}, (3, 5, 7)), x.expand(2, 3, 5, 7))


@pytest.mark.parametrize("shape", [(9,), (3, 1, 7)], ids=str)
def test_convert(back_end, shape):
    x = torch.randint(-2, 3, (2, *shape))
    assert torch.equal(run(back_end, Convert(), [x], {}, shape), x.float())
    assert torch.equal(run(back_end, Convert(truth=True), [x], {}, shape), (x != 0).float())


@pytest.mark.parametrize("shape", [(19,), (4, 3, 5), (7, 5)], ids=str)
def test_where(back_end, isa, shape):
    condition = (torch.rand(2, *shape) < 0.5).float()
    numbers = {"yes": torch.tensor(0.0), "no": torch.tensor(-torch.inf)}
    result = run(back_end, Where("yes", "no"), [condition], numbers, shape, isa)
    assert torch.equal(result, torch.where(condition != 0, 0.0, -torch.inf))
    other = torch.randn(2, *shape)
    result = run(back_end, Where(None, "no"), [condition, other], {"no": torch.tensor(2.5)}, shape, isa)
    assert torch.equal(result, torch.where(condition != 0, other, 2.5))


COMPARISONS = {
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
}


@pytest.mark.parametrize("kind", COMPARISONS)
def test_comparisons(back_end, kind):
    x = torch.randint(-2, 3, (2, 7, 5)).float()
    x[0, 0, 0] = torch.nan
    weights = {"c": torch.tensor(1.0)}
    result = run(back_end, Binary(kind, "c"), [x], weights, (7, 5))
    assert torch.equal(result, COMPARISONS[kind](x, 1.0).float())
    result = run(back_end, Binary(kind, "c", reverse=True), [x], weights, (7, 5))
    assert torch.equal(result, COMPARISONS[kind](torch.tensor(1.0), x).float())


@pytest.mark.parametrize("made", [False, True], ids=["given", "made"])
@pytest.mark.parametrize(
    ("patch", "grid", "before"), [((16, 16), (2, 3), 1), ((4, 3), (5, 17), 0), ((1, 5), (3, 1), 2)], ids=str
)
def test_patches(back_end, isa, patch, grid, before, made):
    """Of a map that the caller gives, and of one with gaps that another operation makes."""
    shape = (3, patch[0] * grid[0], patch[1] * grid[1])
    tokens = before + grid[0] * grid[1]
    x, wanted = torch.randn(2, *shape), (tokens, 3 * patch[0] * patch[1])
    values = {name: Value(name, (1, *shape)) for name in ("x", "map")} | {"y": Value("y", (1, *wanted))}
    nodes = (Node("a", Activate(Activation("relu")), ("x",), ("map",)),) * made
    nodes += (Node("b", Patches(*patch, before), ("map" if made else "x",), ("y",)),)
    (result,) = back_end(Graph(("x",), ("y",), values, nodes, {}), [x], isa)
    rows = F.unfold(x.relu() if made else x, patch, stride=patch).transpose(1, 2)
    assert torch.equal(result, F.pad(rows, (0, 0, before, 0)))


@pytest.mark.parametrize("also", [False, True], ids=["alone", "also read by others"])
def test_a_constant_that_a_layer_adds(back_end, isa, also):
    values = {name: Value(name, (1, 21, size)) for name, size in (("x", 6), ("c", 9), ("y", 9), ("z", 9))}
    nodes = (
        Node("a", Constant("c"), (), ("c",)),
        Node("b", Linear("w", "b", residual=True), ("x", "c"), ("y",)),
        *(Node("c", Binary("multiply"), ("c", "y"), ("z",)),) * also,
    )
    weights = {"c": torch.randn(1, 21, 9), "w": torch.randn(9, 6), "b": torch.randn(9)}
    graph, inputs = Graph(("x",), ("z" if also else "y",), values, nodes, weights), [torch.randn(3, 21, 6)]
    (result,) = back_end(graph, inputs, isa)
    torch.testing.assert_close(result, run_reference(graph, inputs)[0], rtol=1e-5, atol=1e-5)
