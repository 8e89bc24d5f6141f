"""Winograd's algorithm against PyTorch in double precision, what it skips, and when it is chosen."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.compiler.conftest import run_program
from tests.compiler.emit.test_convolution import convolution_graph, expected

from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.emit.winograd import MOST_KEPT, pack_kernels
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.kernels.instances import WinogradKernel
from spokeshave.compiler.operations import Activation, Convolution, Pool
from spokeshave.compiler.schedule import Product, forms, schedule_for

RELATIVE_TOLERANCE = 1e-5  # of the largest output, as of every convolution
PAIRS = Pool("max", (2, 2), (2, 2))
WORSE_THAN_DIRECT = 4.0  # root mean squares of errors; 2.3 with 256 channels


def forced(isa, chunk=None):
    """A chooser that takes Winograd's algorithm wherever it can, `chunk` rows of tiles at a time."""

    def choose(product: Product):
        if product.tiles is None:
            return schedule_for(product, isa)
        form = next(form for form in forms(product, isa) if form.winograd)
        return replace(form, chunk=min(chunk, product.tiles.rows)) if chunk else form

    return choose


def assert_close(result, exact):
    assert (result - exact).abs().max() <= RELATIVE_TOLERANCE * exact.abs().max().clamp(min=1e-3)


@st.composite
def cases(draw):
    channels = draw(st.sampled_from([1, 3, 17, MOST_KEPT, MOST_KEPT + 2, 2 * MOST_KEPT + 5]))
    rows = draw(st.sampled_from([1, 8, 31, 33, 70]))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    size = tuple(
        draw(st.integers(max(1, 3 - before - after), 23))
        for before, after in zip(padding[:2], padding[2:], strict=True)
    )
    activation = draw(st.sampled_from([None, Activation("relu")]))
    bias = draw(st.sampled_from(["b", None]))
    operation = Convolution("w", bias, padding=padding, residual=draw(st.booleans()), activation=activation)
    density = draw(st.sampled_from([1.0, 0.3, 0.02, 0.0]))
    return (
        operation,
        (rows, channels, 3, 3),
        density,
        size,
        draw(st.integers(1, 6)),
        draw(st.integers(0, 2**31)),
    )


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_any_size_padding_and_number_of_channels(isa, case):
    operation, shape, density, size, chunk, seed = case
    generator = torch.Generator().manual_seed(seed)
    random = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    kept = torch.rand(-(-shape[0] // 32), shape[1], 1, 1, generator=generator) < density
    weight, bias = random(*shape) * kept.repeat_interleave(32, 0)[: shape[0]], random(shape[0])
    graph = convolution_graph(weight, bias, size, operation)
    inputs = [random(2, *graph.shape(name)[1:]) for name in graph.inputs]
    chosen = instruction_set(isa)
    program = lower(graph, chosen, {}, forced(chosen, chunk))
    if graph.shape("x")[2:] != (1, 1) and graph.shape("y")[2:] != (1, 1):
        assert any(isinstance(kernel, WinogradKernel) for kernel in program.kernels)
    (result,) = run_program(program, graph, inputs, chosen)
    doubles = [tensor.double() for tensor in (weight, bias, *inputs)]
    assert_close(result, expected(doubles[0], operation.bias and doubles[1], operation, *doubles[2:]))


def chain(sizes: tuple[int, ...], height: int, width: int) -> Graph:
    """Convolutions of 3 x 3 one behind the other, the last of which adds the output of the first."""
    values = {f"v{i}": Value(f"v{i}", (1, channels, height, width)) for i, channels in enumerate(sizes)}
    generator = torch.Generator().manual_seed(0)
    weights, nodes = {}, []
    for i, (before, after) in enumerate(pairwise(sizes)):
        weights[f"w{i}"] = torch.randn((after, before, 3, 3), generator=generator) / (3 * before**0.5)
        last = i + 2 == len(sizes)
        layer = Convolution(f"w{i}", None, padding=(1, 1, 1, 1), residual=last, activation=Activation("relu"))
        nodes.append(Node(f"c{i}", layer, (f"v{i}", *["v1"] * last), (f"v{i + 1}",)))
    return Graph(("v0",), (f"v{len(sizes) - 1}",), values, tuple(nodes), weights)


def chained(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    made = [x.double()]
    for node in graph.nodes:
        y = F.conv2d(made[-1], graph.weights[node.operation.weight].double(), padding=1)
        made.append(F.relu(y + made[1] if node.operation.residual else y))
    return made[-1]


@pytest.mark.parametrize(("height", "width"), [(7, 7), (14, 14), (9, 30)])
def test_layers_in_a_row_keep_the_gaps_between_maps(isa, height, width):
    graph, chosen = chain((20, 24, 35, 24), height, width), instruction_set(isa)
    x = torch.randn(2, 20, height, width)
    for mixed in (False, True):  # every other layer reads the gaps

        def choose(product: Product, mixed=mixed):
            panels = mixed and product.kept.shape[0] == 35
            return next(f for f in forms(product, chosen) if f.winograd != panels)

        (result,) = run_program(lower(graph, chosen, {}, choose), graph, [x], chosen)
        assert_close(result, chained(graph, x))


def test_chosen_by_itself_on_every_cpu(back_end, isa):
    graph = chain((64, 64, 64), 12, 20)
    kernels = lower(graph, instruction_set(isa), {}).kernels
    assert all(isinstance(kernel, WinogradKernel) for kernel in kernels)
    x = torch.randn(2, 64, 12, 20)
    (result,) = back_end(graph, [x], isa)
    assert_close(result, chained(graph, x))


@pytest.mark.parametrize(
    ("options", "kernel", "density", "wanted"),
    [
        ({}, 3, 1.0, True),
        ({}, 3, 0.9, True),
        ({}, 3, 0.05, False),
        ({"stride": (2, 2)}, 3, 1.0, False),
        ({"dilation": (2, 2)}, 3, 1.0, False),
        ({"groups": 2}, 3, 1.0, False),
        ({}, 5, 1.0, False),
    ],
)
def test_chosen_for_plain_and_dense_layers_alone(options, kernel, density, wanted):
    columns = torch.rand(64 // options.get("groups", 1), kernel, kernel) < density
    weight = torch.randn(64, *columns.shape) * columns
    graph = convolution_graph(weight, None, (28, 28), Convolution("w", None, padding=(2, 2, 2, 2), **options))
    kernels = lower(graph, instruction_set("avx512"), {}).kernels
    assert any(isinstance(one, WinogradKernel) for one in kernels) == wanted


@pytest.mark.parametrize(("rows", "vectors"), [(32, 2), (16, 1)])
def test_kernels_that_a_block_of_outputs_leaves_out_are_skipped(rows, vectors):
    isa = instruction_set("avx512")
    kept = torch.rand(128 // rows, 128, 1, 1) < 0.25
    weight = torch.randn(128, 128, 3, 3) * kept.repeat_interleave(rows, 0)
    graph = convolution_graph(weight, None, (28, 28), Convolution("w", None, padding=(1, 1, 1, 1)))
    (kernel,) = lower(graph, isa, {}).kernels
    assert isinstance(kernel, WinogradKernel)
    assert kernel.vectors == vectors
    packed = pack_kernels(weight.numpy(), vectors * isa.lanes)
    assert len(packed.weights) == int(kept.sum())
    assert packed.most <= MOST_KEPT


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 300)),
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    block=st.sampled_from([4, 16, 32]),
)
def test_packed_kernels_hold_the_weight(shape, density, block):
    weight = np.random.default_rng(0).random((*shape, 3, 3), np.float32)
    weight *= np.random.default_rng(1).random((*shape, 1, 1)) < density
    packed = pack_kernels(weight, block)
    blocks = -(-shape[0] // block)
    unpacked = np.zeros((blocks, block, shape[1], 9), np.float32)
    for number, (first, last) in enumerate(pairwise(packed.starts)):
        channels = packed.read[packed.channels[first:last]]
        unpacked[number][:, channels] = packed.weights[first:last].transpose(2, 0, 1)
    unpacked = unpacked.reshape(blocks * block, -1, 3, 3)[: shape[0]]
    assert np.array_equal(unpacked, weight)
    assert set(packed.read) == set(np.nonzero(weight.any((0, 2, 3)))[0])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(4, 40), st.integers(3, 40)),
    activation=st.sampled_from([None, Activation("relu"), Activation("clamp", (-0.5, 0.5))]),
    rows=st.sampled_from([5, 16, 40]),
    chunk=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_pooling_of_pairs_goes_with_the_convolution(isa, size, activation, rows, chunk, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn((rows, 7, 3, 3), generator=generator) / 8
    graph, chosen = pooled(weight, size, activation), instruction_set(isa)
    x = torch.randn((2, 7, *size), generator=generator)
    program = lower(graph, chosen, {}, forced(chosen, chunk))
    (kernel,) = program.kernels
    assert isinstance(kernel, WinogradKernel)
    assert kernel.pooled
    (result,) = run_program(program, graph, [x], chosen)
    assert_close(
        result, F.max_pool2d(activated(F.conv2d(x.double(), weight.double(), padding=1), activation), 2)
    )


@pytest.mark.parametrize(
    ("activation", "residual", "pool"),
    [
        (Activation("gelu"), False, PAIRS),
        (Activation("relu"), True, PAIRS),
        (Activation("relu"), False, Pool("max", (3, 3), (2, 2))),
        (Activation("relu"), False, Pool("average", (2, 2), (2, 2))),
    ],
)
def test_other_pooling_has_a_step_of_its_own(activation, residual, pool):
    isa = instruction_set(None)
    graph = pooled(torch.randn(7, 7, 3, 3), (17, 12), activation, residual, pool)
    program = lower(graph, isa, {}, forced(isa))
    assert [step.operation for step in program.steps if step.layer] == ["Convolution", "Pool"]


def pooled(
    weight: torch.Tensor,
    size: tuple[int, int],
    activation: Activation | None,
    residual: bool = False,
    pool: Pool = PAIRS,
) -> Graph:
    """A convolution and pooling behind it."""
    height, width = size
    after = tuple((side - kernel) // 2 + 1 for side, kernel in zip(size, pool.kernel, strict=True))
    shapes = {"x": (1, 7, height, width), "y": (1, len(weight), height, width), "z": (1, len(weight), *after)}
    layer = Convolution("w", None, padding=(1, 1, 1, 1), activation=activation, residual=residual)
    nodes = (Node("c", layer, ("x", *["x"] * residual), ("y",)), Node("p", pool, ("y",), ("z",)))
    values = {name: Value(name, shape) for name, shape in shapes.items()}
    return Graph(("x",), ("z",), values, nodes, {"w": weight})


def activated(values: torch.Tensor, activation: Activation | None) -> torch.Tensor:
    if activation is None:
        return values
    return values.relu() if activation.kind == "relu" else values.clamp(*activation.parameters)


def test_errors_are_little_larger_than_those_of_direct_sums():
    isa = instruction_set(None)
    weight = torch.randn(32, 256, 3, 3)
    graph = convolution_graph(weight, None, (12, 12), Convolution("w", None, padding=(1, 1, 1, 1)))
    x = torch.randn(1, 256, 12, 12).relu()
    exact = F.conv2d(x.double(), weight.double(), padding=1)

    def error(choose) -> float:
        (result,) = run_program(lower(graph, isa, {}, choose), graph, [x], isa)
        return float((result - exact).square().mean().sqrt())

    direct = error(lambda product: next(form for form in forms(product, isa) if not form.winograd))
    assert error(forced(isa)) <= WORSE_THAN_DIRECT * direct
