"""Layers of networks in whole numbers on the simulated engine, held to the executor."""

from dataclasses import replace

import pytest
import torch
from tests.devices.fpga.verilog.simulators import needs
from torch import nn

from spokeshave.compiler.integers import IntegerForm, whole_network
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.operations import Quantized
from spokeshave.compiler.quantization.executor import run_quantized
from spokeshave.devices.fpga.cycles import count
from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.schedule import jobs
from spokeshave.devices.fpga.verilog.engine_run import simulated_engine
from spokeshave.devices.fpga.verilog.layer import numbers_of, reason_against
from spokeshave.devices.fpga.verilog.product import check_numbers
from spokeshave.errors import SpokeshaveError
from spokeshave.networks.binary import Sign
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import Binary, FixedPoint, PowerOfTwo

SMALL = {"columns": 6, "depth": 8, "positions": 16, "load_bytes": 16, "outputs": 4}
ON_BITS = Engine(Lanes(binary=4), **SMALL)
MULTIPLIER = IntegerForm(rescale="multiplier", joins="separate")
SHIFT = IntegerForm(scales="power_of_two", per="tensor", rescale="shift", signed=True)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 10, (3, 1), padding=(0, 1)),
        nn.ReLU6(),
        nn.Flatten(),
        nn.Linear(150, 11),
        nn.Linear(11, 5),
    ).eval()


def layers(form, built=None, plan=None):
    """Every layer in whole numbers, its weights, what it read and what the executor makes of it."""
    built = built or network()
    for name, scheme in ({} if plan is None else plan.resolve(built)).items():
        weight = built.get_parameter(name)
        weight.data = scheme.project(weight.data)
    data = [torch.randn(4, 3, 9, 6)]
    graph = whole_network(built, data[0][:1], data, form, plan).graph
    values = batch_values(graph, [data[0][:1]])
    for node in graph.nodes:
        if isinstance(node.operation, Quantized) and reason_against(node.operation) is None:
            x = values[node.inputs[0]]
            yield node.operation, graph.weights, x, run_quantized(node.operation, graph.weights, x)


def held_to_the_executor(engine, found, folder):
    simulated, kinds = simulated_engine(engine, folder, "icarus"), set()
    for operation, weights, x, expected in found:
        numbers = numbers_of(engine, operation, weights, x)
        made = simulated.run(numbers)
        wanted = expected[0].flatten(1) if expected.dim() == 4 else expected.reshape(-1, expected.shape[-1]).T
        assert torch.equal(made.levels, wanted.long())
        assert made.cycles == count(engine, jobs(engine, numbers.product)).total
        kinds |= set(numbers.kinds)
    return kinds


@needs("icarus")
def test_bytes_by_multipliers(tmp_path):
    engine = Engine(Lanes(int8=4), signed=False, **SMALL)
    found = list(layers(MULTIPLIER))
    assert len(found) == 3
    assert held_to_the_executor(engine, found, tmp_path) == {"int8"}


@needs("icarus")
def test_bytes_without_a_sign_on_an_engine_with_one(tmp_path):
    engine = Engine(Lanes(int8=4), **SMALL)
    assert held_to_the_executor(engine, layers(MULTIPLIER), tmp_path) == {"int8"}


@needs("icarus")
def test_bytes_by_shifts(tmp_path):
    engine = Engine(Lanes(int8=4), requantizer="shift", **SMALL)
    assert held_to_the_executor(engine, layers(SHIFT), tmp_path) == {"int8"}


@needs("icarus")
def test_rows_of_two_formats(tmp_path):
    mixed = MixedRows(FixedPoint(4), PowerOfTwo(4), 0.5)
    plan = Plan((Rule("2", mixed), Rule("*", FixedPoint(8))))
    engine = Engine(Lanes(int8=2, int4=2, shift=4), signed=False, **SMALL)
    kinds = held_to_the_executor(engine, layers(MULTIPLIER, plan=plan), tmp_path)
    assert kinds == {"int8", "int4", "shift"}


def signs(padding):
    """Two convolutions of signs and the scores, with batch norms of both signs, and whatever else `network` has."""
    torch.manual_seed(0)
    norms = nn.BatchNorm2d(9), nn.BatchNorm2d(5)
    for norm in norms:
        norm.weight.data.normal_()
        norm.bias.data.normal_()
        norm.running_mean.normal_()
    pad, own = (nn.ConstantPad2d(1, 1.0), 0) if padding == "ones" else (nn.Identity(), 1)
    built = nn.Sequential(
        Sign(), nn.Conv2d(3, 9, 3, bias=False), norms[0], Sign(), pad,
        nn.Conv2d(9, 5, 3, padding=own, bias=False), norms[1], Sign(), nn.Flatten(), nn.Linear(140, 4),
    )  # fmt: skip
    return built.eval(), Plan((Rule("9", None), Rule("*", Binary())))


@needs("icarus")
@pytest.mark.parametrize("requantizer", ["shift", "multiplier"])
def test_signs_on_binary_lanes(requantizer, tmp_path):
    engine = Engine(Lanes(binary=4), requantizer=requantizer, **SMALL)
    found = list(layers(MULTIPLIER, *signs("ones")))
    assert len(found) == 2
    assert held_to_the_executor(engine, found, tmp_path) == {"binary"}


@needs("icarus")
def test_signs_on_lanes_for_bytes(tmp_path):
    engine = Engine(Lanes(int8=2, shift=4), **SMALL)
    found = layers(MULTIPLIER, *signs("zeros"))
    assert held_to_the_executor(engine, found, tmp_path) == {"shift"}


def test_binary_lanes_have_no_zero():
    *_, (operation, weights, x, _) = layers(MULTIPLIER, *signs("zeros"))
    with pytest.raises(SpokeshaveError, match="multiply -1 and 1 alone, and among the inputs is 0"):
        check_numbers(ON_BITS, numbers_of(ON_BITS, operation, weights, x))
    with pytest.raises(
        SpokeshaveError, match=r"among the weights is -?[0-9]+: layers for them have the scheme"
    ):
        check_numbers(ON_BITS, numbers_of(ON_BITS, *next(layers(MULTIPLIER, signs("ones")[0]))[:3]))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"rescale": None}, "float32 numbers"),
        ({"output": None}, "sums stay float32"),
    ],
)
def test_what_the_engine_cannot_do_is_said(changed, reason):
    operation, weights, x, _ = next(layers(MULTIPLIER))
    with pytest.raises(SpokeshaveError, match=reason):
        numbers_of(Engine(Lanes(int8=4), **SMALL), replace(operation, **changed), weights, x)
