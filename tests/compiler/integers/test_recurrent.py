"""Recurrent layers in whole networks: against generated code, fake quantization, single samples, and float32."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spokeshave.compiler.compile import build
from spokeshave.compiler.integers import (
    IntegerDeployment,
    IntegerForm,
    JointSearch,
    joint_network,
    load_integer_deployment,
    whole_network,
)
from spokeshave.compiler.integers.batched import batch_values, run_batch
from spokeshave.compiler.isa import best_here
from spokeshave.compiler.native import NativeDeployment
from spokeshave.compiler.operations import Dequantize, QuantizedRecurrent, WholeRecurrent
from spokeshave.compiler.quantization.transformers import look_up
from spokeshave.compiler.quantization.whole_recurrent import (
    gate_table,
    reads_table,
    run_whole_recurrent,
    state_of,
)
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.stages import generate_from_graph
from spokeshave.deployment import Cost
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint

FLOAT, MULTIPLIER = IntegerForm(), IntegerForm(rescale="multiplier")
SHIFT = IntegerForm(rescale="shift", scales="power_of_two", per="tensor")
TWICE = IntegerForm(rescale="multiplier", rounding="twice", joins="separate")
FORMS = [FLOAT, MULTIPLIER, SHIFT, TWICE]
KINDS = ["GRU", "LSTM"]


class Listener(nn.Module):
    """A recurrent network with a head on every step."""

    def __init__(self, kind, layers=1, both=False, bias=True, time_major=False):
        super().__init__()
        settings = {"batch_first": not time_major, "bidirectional": both, "bias": bias}
        self.steps = getattr(nn, kind)(7, 12, layers, **settings)
        self.head = nn.Linear(24 if both else 12, 3)

    def forward(self, x, *states):
        time_major = not self.steps.batch_first
        given = tuple(state.transpose(0, 1).contiguous() for state in states)
        packed = given if len(given) == 2 else given[0] if given else None
        y, last = self.steps(x.transpose(0, 1) if time_major else x, packed)
        last = last if isinstance(last, tuple) else (last,)
        y = self.head(y.transpose(0, 1) if time_major else y)
        return (y, *(state.transpose(0, 1) for state in last)) if states else y


def listener(kind, *settings, **more):
    torch.manual_seed(0)
    network = Listener(kind, *settings, **more)
    for parameter in network.steps.parameters():
        parameter.data *= 3  # so that gates open and close
    return network.eval(), torch.randn(5, 11, 7)


def states(kind, rows):
    """First states of 5 samples, larger than gates would make them."""
    return tuple(1.5 * torch.randn(5, rows, 12) for _ in range(1 + (kind == "LSTM")))


def recurrent(graph):
    return [node for node in graph.nodes if isinstance(node.operation, QuantizedRecurrent | WholeRecurrent)]


@pytest.mark.parametrize(("kind", "starts"), [("GRU", False), ("LSTM", True)])
def test_generated_code_computes_the_same_numbers(kind, starts):
    network, x = listener(kind, 1, True)
    inputs = (x, *(states(kind, 2) if starts else ()))
    whole = whole_network(network, inputs, [(inputs,)], FLOAT)
    assert len(recurrent(whole.graph)) == 2
    native = NativeDeployment(*build(generate_from_graph(whole.graph, whole.structure, {}, best_here())))
    made, expected = native(*inputs), run_batch(whole.graph, inputs)
    for one, other in zip(made if starts else [made], expected, strict=True):
        assert torch.equal(one, other.view(one.shape))


@pytest.mark.parametrize("form", [SHIFT, replace(SHIFT, weight_bits=5, activation_bits=6)], ids=["8", "5, 6"])
@pytest.mark.parametrize(("kind", "starts"), [("GRU", False), ("GRU", True), ("LSTM", False), ("LSTM", True)])
def test_shifts_compute_what_fake_quantization_does(kind, form, starts):
    network, x = listener(kind, 2, True)
    inputs = (x, *(states(kind, 4) if starts else ()))
    graph = whole_network(network, inputs, [(inputs,)], form).graph
    values = batch_values(graph, inputs)
    for node in recurrent(graph):
        of = node.operation.input_product.input
        first, *given = (values[name] for name in node.inputs)
        made = fake_steps(node.operation, graph.weights, (first.double() - of.zero_point) * of.scale, given)
        leaving = [(left.output if left else None) for left in node.operation.outputs]
        for name, grid, expected in zip(
            node.outputs, [*leaving, *[None] * (len(made) - 2)], made, strict=True
        ):
            if grid is None:
                assert torch.equal(values[name].double(), expected)
            else:
                assert torch.equal(
                    (values[name].double() - grid.zero_point) * grid.scale, rounded(expected, grid)
                )


def fake_steps(operation, weights, x, given):
    """A recurrent layer with real numbers in float64 that are rounded wherever whole numbers would be."""
    layer, states = operation.layer, [operation.hidden, *([operation.cell] if operation.cell else [])]
    given = given or [torch.zeros(len(x), 12)] * len(states)
    h, *c = (
        (real.double() / grid.scale).round().clamp(grid.low, grid.high) * grid.scale  # ties to even
        for real, grid in zip(given, states, strict=True)
    )
    made = []
    for step in range(x.shape[1])[:: -1 if layer.reverse else 1]:
        before = share(operation.input_product, weights, x[:, step]).chunk(4 if c else 3, 1)
        fed = share(operation.state_product, weights, rounded(h, operation.narrow.output)).chunk(
            len(before), 1
        )
        if c:
            entry, forget, cell, output = (a + b for a, b in zip(before, fed, strict=True))
            entry, forget, output = (gate(torch.sigmoid, part) for part in (entry, forget, output))
            kept = at(forget * c[0], operation.cell.scale)
            entering = at(entry * gate(torch.tanh, cell), operation.cell.scale)
            c = [
                (kept + entering).clamp(
                    operation.cell.low * operation.cell.scale, operation.cell.high * operation.cell.scale
                )
            ]
            h = at(output * gate(torch.tanh, c[0]), operation.hidden.scale)
        else:
            reset, update = (gate(torch.sigmoid, before[part] + fed[part]) for part in (0, 1))
            new = gate(torch.tanh, before[2] + at(reset * fed[2], 2.0**-10))
            new = at(new, operation.hidden.scale)
            h = new + at(update * (h - new), operation.hidden.scale)
        made.append(h)
    return [torch.stack(made[::-1] if layer.reverse else made, 1), h, *c]


def share(product, weights, x):
    scale = weights[product.weight_scale].double()
    y = F.linear(x, weights[product.weight].double() * scale[:, None])
    if product.rescale.bias:
        y = y + weights[product.rescale.bias] * scale * product.input.scale
    return rounded(y, product.output)


def gate(function, real):
    place = (real * 256 + 0.5).floor().clamp(-2048, 2047) / 256
    return ((function(place) * 2**15 + 0.5).floor() / 2**15).clamp(max=1 - 2.0**-15)


def at(real, scale):
    return (real / scale + 0.5).floor() * scale


def rounded(real, grid):
    return (real / grid.scale + 0.5).floor().clamp(grid.low, grid.high) * grid.scale


@pytest.mark.parametrize("form", FORMS, ids=["float", "multiplier", "shift", "twice"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_what_its_samples_give_and_is_close_to_float32(kind, form):
    for settings in ({"time_major": True}, {"layers": 2, "both": True, "bias": False}):
        network, x = listener(kind, **settings)
        whole = whole_network(network, x, [x], form)
        assert whole.floats == ()
        (y,) = run_batch(whole.graph, [x])
        assert torch.equal(y, run_reference(whole.graph, [x])[0])
        assert (y - network(x)).norm() < 0.06 * network(x).norm()


@pytest.mark.parametrize("kind", KINDS)
def test_steps_may_be_taken_in_pieces(kind):
    """States leave as float32 numbers that hold all of their sixteen bits."""
    network, x = listener(kind)
    inputs = (x, *states(kind, 1))
    graph = whole_network(network, inputs, [(inputs,)], MULTIPLIER).graph
    (node,) = recurrent(graph)
    assert node.operation.outputs[0] is not None
    assert node.operation.outputs[1] is None
    levels = torch.randint(0, 256, x.shape, dtype=torch.uint8)
    assert not any(isinstance(other.operation, Dequantize) for other in graph.nodes)
    y, *last = run_whole_recurrent(node.operation, graph.weights, [levels])
    first, *between = run_whole_recurrent(node.operation, graph.weights, [levels[:, :4]])
    second, *end = run_whole_recurrent(node.operation, graph.weights, [levels[:, 4:], *between])
    assert torch.equal(torch.cat((first, second), 1), y)
    assert all(torch.equal(a, b) for a, b in zip(end, last, strict=True))


@given(st.floats(0, 200))
def test_a_state_holds_what_it_reaches(largest):
    grid = state_of(largest)
    assert grid.scale * 2**15 >= min(largest, 128)
    assert grid.scale * 2**14 < max(largest, 1)


@pytest.mark.parametrize("order", [0, 3, 7])
def test_a_table_gives_the_nearest_entry_of_every_number(order):
    grid = state_of(2.0**order)
    levels = torch.arange(grid.low, grid.high + 1)
    for function in (torch.sigmoid, torch.tanh):
        read = look_up(reads_table("t", grid), {"t": gate_table(function)}, levels)
        apart = read.double() / 2**15 - function(levels.double() * grid.scale)
        assert apart.abs().max() < (2.0**-9 if function is torch.tanh else 2.0**-11) + 2.0**-15


def test_a_saved_deployment_computes_the_same(tmp_path):
    network, x = listener("LSTM", 2, True)
    deployment = IntegerDeployment(
        whole_network(network, x, [x], MULTIPLIER), MULTIPLIER, Cost("modelled", "nothing"), "mine"
    )
    deployment.save(tmp_path / "saved")
    loaded = load_integer_deployment(tmp_path / "saved")
    assert torch.equal(loaded(x), deployment(x))
    assert loaded.manifest == deployment.manifest
    assert [entry.layer for entry in loaded.manifest.accumulators][:2] == [
        "steps.weight_ih_l0",
        "steps.weight_hh_l0",
    ]


def test_calibration_data_without_states_are_refused():
    network, x = listener("GRU")
    with pytest.raises(
        SpokeshaveError, match="the network has 2 inputs, the calibration data 1: give batches"
    ):
        whole_network(network, (x, *states("GRU", 1)), [x], MULTIPLIER)


def test_too_small_accumulators_are_refused():
    network, x = listener("GRU")
    with pytest.raises(
        SpokeshaveError, match=r"steps\.weight_ih_l0: its sums can reach from .* have 16: give"
    ):
        whole_network(network, x, [x], replace(MULTIPLIER, accumulator_bits=16))


@pytest.mark.parametrize("form", [FLOAT, MULTIPLIER], ids=["float", "multiplier"])
def test_weights_keep_the_levels_of_their_scheme(form):
    network, x = listener("GRU")
    weight = network.steps.weight_hh_l0
    weight.data = FixedPoint(4).project(weight.data)
    graph = whole_network(network, x, [x], form, Plan((Rule("steps.weight_hh_l0", FixedPoint(4)),))).graph
    (node,) = recurrent(graph)
    product = node.operation.state_product
    levels = graph.weights[product.weight]
    assert len(levels.unique()) <= 16
    back = levels * graph.weights[product.weight_scale][:, None]
    torch.testing.assert_close(back, weight.detach())


def test_joint_search_takes_recurrent_layers_along():
    network, x = listener("LSTM")
    whole = joint_network(network, x, [x], SHIFT, JointSearch(1))
    (y,) = run_batch(whole.graph, [x])
    assert (y - network(x)).norm() < 0.06 * network(x).norm()
