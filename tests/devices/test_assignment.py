from collections import OrderedDict

import pytest
import torch
from torch import nn

from spokeshave.devices import load_device
from spokeshave.devices.assignment import assign, costed_layers, packed_size, random_weight
from spokeshave.networks import NETWORKS
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.quantizers import Binary
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.workload import trace


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = nn.GRU(12, 16, num_layers=2, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.memory(x)[0])


CASES = [
    (NETWORKS["digits"], (1, 1, 16, 16), lambda network: Plan.for_compression(network, 8)),
    (
        Recurrent,
        (1, 9, 12),
        lambda network: Plan((Rule("*hh*", Unstructured(0.5)), Rule("head", Unstructured(0.1)))),
    ),
    (Recurrent, (1, 9, 12), lambda network: Plan((Rule("*l1", None), Rule("memory", Unstructured(0.5))))),
]


@pytest.mark.parametrize(("make", "shape", "plan"), CASES)
def test_a_workload_gets_the_schemes_that_the_network_gets(make, shape, plan):
    network = make()
    rules = plan(network)
    assert assign(trace(network, torch.zeros(shape)), rules) == rules.resolve(network) != {}


def test_without_a_plan_everything_is_dense():
    assert assign(trace(nn.Linear(2, 3), torch.zeros(1, 2)), None) == {}


def test_random_weights_lie_in_their_scheme_and_are_always_the_same():
    scheme = BlockColumnRow(0.8, block=(4, 9))
    weight = random_weight((16, 8, 3, 3), scheme)
    assert scheme.contains(weight)
    assert torch.equal(weight, random_weight((16, 8, 3, 3), scheme))
    kept, index_bytes = packed_size((16, 8, 3, 3), scheme)
    assert kept == int(torch.count_nonzero(weight))
    assert 4 * kept + index_bytes == scheme.pack(weight).nbytes


def test_seconds_belong_to_the_layers_that_were_counted():
    attention = nn.MultiheadAttention(16, 2, bias=False, batch_first=True)
    network = nn.Sequential(OrderedDict(attention=Itself(attention), last=nn.Linear(16, 4, bias=False)))
    workload = trace(network.eval(), torch.ones(1, 5, 16))
    plan = Plan((Rule("attention.of.out_proj.weight", Binary()),))
    cost = load_device("aqfp").cost(workload, plan)
    ((layer, seconds),) = costed_layers(workload, cost)
    assert layer.parameter == "attention.of.out_proj.weight"
    assert seconds == cost.by_layer[0][1]
    assert "attention.of.in_proj_weight" in dict(cost.left_out)


class Itself(nn.Module):
    """Attention of tokens to themselves."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, x):
        return self.of(x, x, x, need_weights=False)[0]
