"""Products of values, sums over channels and routing against PyTorch."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.compiler.conftest import run_back_end

from spokeshave.compiler.emit.lower import lower, supports
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.operations import (
    Constant,
    MatMul,
    Mean,
    Quantization,
    RMSNorm,
    SelectedLinear,
    Sum,
    TopK,
)
from spokeshave.compiler.quantization.selected import selected_layers_to_integers
from spokeshave.compiler.reference import run_reference
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.unstructured import Unstructured


def graph_of(operation, inputs, shapes, weights=None) -> Graph:
    names, outputs = (
        tuple(f"{kind}{i}" for i in range(n)) for kind, n in (("x", len(inputs)), ("y", len(shapes)))
    )
    values = {name: Value(name, (1, *tensor.shape[1:])) for name, tensor in zip(names, inputs, strict=True)}
    values |= {name: Value(name, (1, *shape)) for name, shape in zip(outputs, shapes, strict=True)}
    return Graph(names, outputs, values, (Node("layer", operation, names, outputs),), weights or {})


def close(result, wanted) -> None:
    assert (result - wanted).abs().max() <= 1e-5 * max(1.0, wanted.abs().max().item())


@pytest.mark.parametrize("front", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (19, 5, 35), (50, 17, 1), (1, 9, 16)], ids=str)
def test_matmul(back_end, isa, front, sizes):
    rows, depth, columns = sizes
    pair = [torch.randn(2, *front, rows, depth), torch.randn(2, *front, depth, columns)]
    (result,) = back_end(graph_of(MatMul(), pair, [(*front, rows, columns)]), pair, isa)
    close(result, pair[0] @ pair[1])


sizes = st.integers(1, 40)


@settings(deadline=None, max_examples=25)
@given(sizes, sizes, sizes, st.sampled_from([(), (2,), (2, 2)]))
def test_matmul_of_any_size(rows, depth, columns, front):
    pair = [torch.randn(1, *front, rows, depth), torch.randn(1, *front, depth, columns)]
    (result,) = run_back_end(graph_of(MatMul(), pair, [(*front, rows, columns)]), pair)
    close(result, pair[0] @ pair[1])


@pytest.mark.parametrize("shape", [(1, 3), (35, 7), (9,)], ids=str)
def test_sums_over_channels(back_end, isa, shape):
    x, axis = torch.randn(3, *shape), len(shape)
    kept = (*shape[:-1], 1)
    for operation, wanted in ((Sum, x.sum(-1, True)), (Mean, x.mean(-1, True))):
        (result,) = back_end(graph_of(operation((axis,), True), [x], [kept]), [x], isa)
        close(result, wanted)


def test_sum_over_positions(back_end):
    x = torch.randn(3, 4, 5, 7)
    (result,) = back_end(graph_of(Sum((2, 3), False), [x], [(4,)]), [x])
    close(result, x.sum((2, 3)))


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("shape", [(35, 24), (1, 5), (24,)], ids=str)
def test_rms_norm(back_end, isa, shape, weight):
    x, weights = torch.randn(3, *shape), {"w": torch.randn(shape[-1:])}
    (result,) = back_end(graph_of(RMSNorm(weight, 1e-3), [x], [shape], weights), [x], isa)
    close(result, F.rms_norm(x, shape[-1:], weights["w"] if weight else None, 1e-3))


@pytest.mark.parametrize("shape", [(3, 4), (4, 3, 5), (7,)], ids=str)
def test_constant(back_end, shape):
    weight, x = torch.randn(shape), torch.randn(2, 3)
    graph = graph_of(Constant("w"), [], [shape], {"w": weight})
    graph = Graph(("x0",), ("y0",), {**graph.values, "x0": Value("x0", (1, 3))}, graph.nodes, graph.weights)
    (result,) = back_end(graph, [x])
    assert torch.equal(result, weight.expand(2, *shape))


@pytest.mark.parametrize(("tokens", "channels", "count"), [(1, 1, 1), (19, 8, 2), (35, 5, 5)])
def test_top_k(back_end, isa, tokens, channels, count):
    x = torch.randint(-3, 3, (2, tokens, channels)).float()  # many are equal
    x[0, 0, 0] = -torch.inf
    graph = graph_of(TopK(count), [x], [(tokens, count)] * 2)
    for result, wanted in zip(back_end(graph, [x], isa), run_reference(graph, [x]), strict=True):
        assert torch.equal(result, wanted)


def test_top_k_does_not_hide_what_is_not_a_number(back_end):
    x = torch.randn(1, 5, 4)
    x[0, 2, 1] = torch.nan
    values, numbers = back_end(graph_of(TopK(2), [x], [(5, 2)] * 2), [x])
    assert values[0, 2].isnan().all()
    assert not values[0, 3].isnan().any()
    assert numbers.min() >= 0
    assert numbers.max() < 4


PRUNED = {
    "dense": None,
    "scattered": Unstructured(0.6),
    "2:4": NOfM(2, 4),
    "blocks": BlockColumnRow(0.75, (8, 16)),
    "nothing": Unstructured(0.999),
}


def selected(tokens, matrices, rows, width, schemes) -> tuple[Graph, list]:
    """Products with chosen matrices, one for each scheme; nobody chooses the last one where there are several."""
    chosen = torch.randint(0, max(1, matrices - 1), (2, tokens)).float()
    inputs = [torch.randn(2, tokens, width), chosen]
    weights = {f"w{number}": pruned(matrices, rows, width, scheme) for number, scheme in enumerate(schemes)}
    graph = graph_of(SelectedLinear("w0"), inputs, [(tokens, rows)] * len(weights), weights)
    nodes = (
        Node(f"layer{number}", SelectedLinear(f"w{number}"), graph.inputs, (output,))
        for number, output in enumerate(graph.outputs)
    )
    return replace(graph, nodes=tuple(nodes)), inputs


def pruned(matrices, rows, width, scheme):
    weight = torch.randn(matrices, rows, width)
    if scheme is None or scheme.supports((rows, width)) is not None:
        return weight
    return torch.stack([scheme.project(matrix) for matrix in weight])


@pytest.mark.parametrize("sizes", [(1, 8, 9, 33), (23, 4, 33, 20), (75, 3, 21, 130)], ids=str)
def test_selected_linear(back_end, isa, sizes):
    graph, inputs = selected(*sizes, PRUNED.values())
    for result, wanted in zip(back_end(graph, inputs, isa), run_reference(graph, inputs), strict=True):
        close(result, wanted)


@pytest.mark.parametrize("sizes", [(1, 8, 9, 33), (75, 3, 37, 130)], ids=str)
def test_selected_linear_in_integers(back_end, integer_isa, sizes):
    graph, inputs = selected(*sizes, PRUNED.values())
    floats = run_reference(graph, inputs)
    graph = selected_layers_to_integers(graph, set(graph.outputs), {"x0": Quantization(0.03, 120)})
    results = back_end(graph, inputs, integer_isa)
    for result, wanted, exact in zip(results, run_reference(graph, inputs), floats, strict=True):
        assert torch.equal(result, wanted)
        assert (result - exact).square().mean().sqrt() <= 0.03 * exact.square().mean().sqrt()


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 90), st.integers(1, 5), sizes, st.integers(1, 200), st.floats(0.0, 0.99))
def test_selected_linear_of_any_size(tokens, matrices, rows, width, sparsity):
    graph, inputs = selected(tokens, matrices, rows, width, [Unstructured(sparsity)])
    (result,) = run_back_end(graph, inputs)
    close(result, run_reference(graph, inputs)[0])


@pytest.mark.parametrize(
    ("tokens", "scheme", "kernel"),
    [
        (2, "dense", "selected_vector_r"),
        (2, "2:4", "_segment16"),
        (100, "blocks", "selected_panel_r8"),
        (100, "scattered", "selected_subset_r4"),
    ],
)
def test_pruned_matrices_are_multiplied_packed(tokens, scheme, kernel):
    def packed(scheme):
        graph, _ = selected(tokens, 4, 64, 128, [scheme])
        program = lower(graph, instruction_set("avx512"), {})
        return program.kernels[0].name, sum(array.nbytes for array in program.constants.values())

    (name, size), (_, dense) = packed(PRUNED[scheme]), packed(None)
    assert kernel in name
    assert (size < 0.75 * dense) == (scheme != "dense")


def test_sums_without_a_kernel_say_so():
    x = torch.randn(1, 3, 4, 5)
    graph = graph_of(Sum((1,), True), [x], [(1, 4, 5)])
    assert "has no kernel" in supports(graph.nodes[0], graph)
