"""Recurrent layers against PyTorch: every kind, direction, length and size, dense and pruned."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.kernels.instances import RecurrentKernel
from spokeshave.compiler.operations import Quantization, QuantizedRecurrent, Recurrent
from spokeshave.compiler.quantization.integers import to_integers
from spokeshave.compiler.reference import run_reference

TOLERANCE = 1e-5  # gates and outputs are of the order of 1; the cell state of an LSTM may grow with the steps
GATES = {"gru": 3, "lstm": 4}


def weights_of(
    kind: str, name: str, features: int, hidden: int, density: float, generator: torch.Generator
) -> dict[str, Tensor]:
    rows = GATES[kind] * hidden
    random = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    weights = {
        f"{name}.ih": random(rows, features) / features**0.5,
        f"{name}.hh": random(rows, hidden) / hidden**0.5,
        f"{name}.bi": random(rows),
        f"{name}.bh": random(rows),
    }
    for matrix in (f"{name}.ih", f"{name}.hh"):
        weights[matrix] *= torch.rand(weights[matrix].shape, generator=generator) < density
    return weights


def layers(
    kind: str, sizes: list[tuple[int, int, int]], density: float = 1.0, biases: bool = True, state: str = ""
) -> Graph:
    """One layer in each direction for each (features, hidden, steps); `state` is "", "given" or "constant"."""
    generator = torch.Generator().manual_seed(0)
    values, nodes, weights, inputs, outputs = {}, [], {}, [], []
    for (features, hidden, steps), reverse in product(sizes, (False, True)):
        name = f"f{features} h{hidden} t{steps} {reverse}"
        weights |= weights_of(kind, name, features, hidden, density, generator)
        states = ["h", "c"][: GATES[kind] - 2]
        bias = (f"{name}.bi", f"{name}.bh") if biases else (None, None)
        constants = [f"{name}.{part}0" for part in states] if state == "constant" else []
        weights |= {constant: torch.randn(hidden, generator=generator) for constant in constants}
        given = [f"{name} {part}0" for part in states] if state == "given" else []
        read, made = [f"{name} x", *given], [f"{name} {part}" for part in ("y", *states)]
        shapes = [(steps, features), *[(hidden,)] * len(given), (steps, hidden), *[(hidden,)] * len(states)]
        values |= {
            value: Value(value, (1, *shape)) for value, shape in zip([*read, *made], shapes, strict=True)
        }
        operation = Recurrent(kind, f"{name}.ih", f"{name}.hh", *bias, reverse, *constants)
        nodes.append(Node(name, operation, tuple(read), tuple(made)))
        inputs, outputs = [*inputs, *read], [*outputs, *made]
    return Graph(tuple(inputs), tuple(outputs), values, tuple(nodes), weights)


def check(back_end, graph: Graph, isa: str | None = None, samples: int = 2) -> None:
    inputs = [torch.randn(samples, *graph.shape(name)[1:]) for name in graph.inputs]
    results = back_end(graph, inputs, isa)
    for name, result, expected in zip(graph.outputs, results, run_reference(graph, inputs), strict=True):
        torch.testing.assert_close(result, expected, rtol=TOLERANCE, atol=TOLERANCE, msg=name)


@pytest.mark.parametrize("density", [1.0, 0.1])
@pytest.mark.parametrize("kind", GATES)
def test_sizes_and_lengths(back_end, isa, kind, density):
    check(
        back_end, layers(kind, [(5, 17, 1), (3, 1, 2), (16, 32, 7), (1, 5, 2), (40, 70, 100)], density), isa
    )


@pytest.mark.parametrize("kind", GATES)
def test_weights_that_are_bfloat16_are_stored_as_such(back_end, isa, kind):
    graph = layers(kind, [(5, 17, 2), (40, 70, 9), (16, 32, 3)], 0.5)
    matrices = {
        name: tensor.bfloat16().float() for name, tensor in graph.weights.items() if tensor.dim() == 2
    }
    graph = replace(graph, weights=graph.weights | matrices)
    assert all("half" in kernel.name for kernel in lower(graph, instruction_set(isa), {}).kernels)
    check(back_end, graph, isa)


@pytest.mark.parametrize("kind", GATES)
def test_weights_that_share_no_columns_are_picked_from_segments(back_end, isa, kind):
    """Every other row keeps next to nothing, so that those that keep much share panels."""
    graph = layers(kind, [(40, 70, 5)], 0.2)
    for name in (name for name in graph.weights if name.endswith(("ih", "hh"))):
        graph.weights[name][::2, 5:] = 0
    kernels = lower(graph, instruction_set("avx512"), {}).kernels
    products = [kernel.product for kernel in kernels if isinstance(kernel, RecurrentKernel)]
    assert all(kernel.segment and kernel.scattered for kernel in products)
    check(back_end, graph, isa, samples=1)


@pytest.mark.parametrize("samples", [7, 19])
@pytest.mark.parametrize("kind", GATES)
def test_samples_go_through_the_steps_together(back_end, kind, samples):
    """One group of a team, and three groups, each of a worker: of float32 and, bit for bit, of integers."""
    graph = layers(kind, [(5, 17, 3), (40, 35, 4)], state="given")
    assert lower(graph, instruction_set(None), {}).together == 8
    check(back_end, graph, samples=samples)
    check_integers(back_end, graph, None, samples)


@pytest.mark.parametrize("state", ["", "given", "constant"])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("kind", GATES)
def test_states_and_biases(back_end, kind, biases, state):
    check(back_end, layers(kind, [(5, 17, 4)], biases=biases, state=state))


def in_integers(graph: Graph) -> Graph:
    """Every layer of it; what the layers read is of the order of 1, states may begin at 3."""
    ranges = {name: Quantization(3 / 127, 128) for name in graph.values}
    return to_integers(graph, frozenset(node.outputs[0] for node in graph.nodes), ranges)


def check_integers(back_end, graph: Graph, isa: str | None, samples: int = 2) -> None:
    inputs = [torch.randn(samples, *graph.shape(name)[1:]) for name in graph.inputs]
    quantized = in_integers(graph)
    assert all(isinstance(node.operation, QuantizedRecurrent) for node in quantized.nodes)
    for result, expected in zip(
        back_end(quantized, inputs, isa), run_reference(quantized, inputs), strict=True
    ):
        assert torch.equal(result, expected)


@pytest.mark.parametrize("density", [1.0, 0.1])
@pytest.mark.parametrize("kind", GATES)
def test_integers_equal_the_executor_bit_for_bit(back_end, integer_isa, kind, density):
    check_integers(
        back_end,
        layers(kind, [(5, 17, 1), (3, 1, 2), (16, 32, 7), (1, 5, 2), (40, 70, 30)], density),
        integer_isa,
    )


@pytest.mark.parametrize("state", ["given", "constant"])
@pytest.mark.parametrize("kind", GATES)
def test_integers_with_states_and_huge_biases(back_end, kind, state):
    graph = layers(kind, [(5, 17, 4)], state=state)
    huge = {name: tensor * 1e30 for name, tensor in graph.weights.items() if name.endswith("True.bi")}
    check_integers(back_end, replace(graph, weights=graph.weights | huge), None)


def test_columns_kept_in_fours_are_read_as_words_and_others_one_by_one():
    graph = layers("gru", [(64, 128, 2)])
    keep = torch.rand(1, 128, generator=torch.Generator().manual_seed(0)) < 0.2
    for columns, gathered in ((keep, True), (keep[:, :32].repeat_interleave(4, 1), False)):
        weights = {name: w * columns for name, w in graph.weights.items() if name.endswith("hh")}
        pruned = in_integers(replace(graph, weights=graph.weights | weights))
        kernels = [
            kernel.product
            for kernel in lower(pruned, instruction_set("avx512_vnni"), {}).kernels
            if isinstance(kernel, RecurrentKernel)
        ]
        assert [kernel.gathered for kernel in kernels] == [gathered]


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(GATES)),
    sizes=st.lists(st.tuples(*[st.integers(1, 40)] * 3), min_size=1, max_size=3, unique=True),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    samples=st.integers(1, 3),
)
def test_any_size(back_end, kind, sizes, density, samples):
    check(back_end, layers(kind, sizes, density), samples=samples)
    check_integers(back_end, layers(kind, sizes, density), None, samples)
