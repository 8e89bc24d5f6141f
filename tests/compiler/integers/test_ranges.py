"""Overflow is found by analysis: ranges enclose every sum, are reached, and too small accumulators are refused."""

import itertools

import pytest
import torch
from torch import nn

from spokeshave.compiler.integers import IntegerForm
from spokeshave.compiler.integers.network import whole_network
from spokeshave.compiler.integers.ranges import accumulator_ranges, check_accumulators
from spokeshave.compiler.operations import Quantized
from spokeshave.compiler.quantization.executor import integer_sums
from spokeshave.errors import SpokeshaveError

FORM = IntegerForm(4, 3, rescale="multiplier")


def linear():
    return nn.Linear(3, 4, bias=False).eval(), torch.randn(20, 3)


def test_ranges_are_those_of_all_inputs():
    network, x = linear()
    graph = whole_network(network, x, [x], FORM).graph
    (operation,) = (node.operation for node in graph.nodes if isinstance(node.operation, Quantized))
    every = torch.tensor([*itertools.product(range(8), repeat=3)], dtype=torch.uint8)
    sums = integer_sums(operation, every, graph.weights[operation.weight])
    (found,) = accumulator_ranges(graph)
    assert (found.low, found.high) == (int(sums.min()), int(sums.max()))


def test_too_small_accumulators_are_refused():
    network, x = linear()
    graph = whole_network(network, x, [x], FORM).graph
    (found,) = accumulator_ranges(graph)
    check_accumulators(graph, found.bits)
    with pytest.raises(SpokeshaveError, match=f"takes {found.bits} bits; accumulators have {found.bits - 1}"):
        check_accumulators(graph, found.bits - 1)


def test_a_network_that_overflows_is_refused():
    network, x = nn.Linear(5000, 2).eval(), torch.randn(4, 5000)
    with pytest.raises(SpokeshaveError, match=r"its sums can reach from .* accumulators have 16: give"):
        whole_network(network, x, [x], IntegerForm(accumulator_bits=16))
    whole_network(network, x, [x], IntegerForm(accumulator_bits=32))


def test_what_is_added_by_shifts_must_fit_as_well():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            y = torch.relu(self.a(x))
            return torch.relu(self.b(y) + 4000 * y)  # the product with a constant stays float32

    x = torch.randn(30, 4)
    form = IntegerForm(6, 6, "tensor", "power_of_two", "shift", accumulator_bits=20)
    with pytest.raises(SpokeshaveError, match=r"b: its sums, brought to the scale of what is added, take"):
        whole_network(Sum().eval(), x, [x], form)
