"""The ZCU102 with binary lanes: what it runs of a network of signs, and what it refuses."""

import pytest
import torch
from torch import nn

from spokeshave.devices import load_device
from spokeshave.devices.fpga.signs import ELSEWHERE
from spokeshave.errors import SpokeshaveError
from spokeshave.networks.binary import Sign, binary_perceptron
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import Binary, FixedPoint
from spokeshave.workload import trace

DEVICE = load_device("zcu102-binary")
PLAN = Plan((Rule("8", None), Rule("*", Binary())))
SIGNS = Plan((Rule("*", Binary()),))
X = torch.randn(32, 1, 6, 6)


def network():
    torch.manual_seed(0)
    made = binary_perceptron(36, (24, 16), 10).eval()
    for norm in (made[3], made[6]):
        norm.bias.data.normal_()  # no sum is on the bound, where float32 has either sign
    return projected(made, PLAN)


def projected(made, plan):
    for name, scheme in plan.resolve(made).items() if plan else ():
        weight = made.get_parameter(name)
        weight.data = scheme.project(weight.data)
    return made


def test_rows_are_on_binary_lanes_and_the_last_layer_runs_elsewhere():
    workload = trace(network(), X[:1])
    works = DEVICE.works(workload, PLAN)
    assert [work.product.rows for work in works] == [(("binary", 24),), (("binary", 16),)]
    cost = DEVICE.cost(workload, PLAN)
    assert cost.left_out == (("8", ELSEWHERE),)
    assert cost.weight_bytes == round((36 * 24 + 24 * 16) / 8)
    assert DEVICE.used.dsp == 0


def test_accuracy_and_cost_are_those_of_the_whole_network():
    made = network()
    deployment = DEVICE.deploy(made, X[:1], PLAN, [X])
    with torch.inference_mode():
        expected = made(X)
    assert (deployment(X) - expected).abs().mean() < 0.05 * expected.abs().mean()
    assert deployment.cost.left_out == (("8", ELSEWHERE),)


@pytest.mark.parametrize(
    ("made", "plan", "sentence"),
    [
        (network(), None, "zcu102-binary runs binary layers alone; give at least one layer the scheme binary"),
        (network(), Plan((Rule("2", FixedPoint(8)),)), "its lanes multiply signs with signs; .* uses binary behind a"),
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 4), Sign()), SIGNS, "1: binary lanes read -1 and 1 alone; put a S"),
        (
            nn.Sequential(Sign(), nn.Conv2d(1, 4, 3, padding=1, bias=False)),
            SIGNS,
            "1: binary lanes read -1 and 1 alone; .* and pad with 1",
        ),
    ],
)  # fmt: skip
def test_what_is_no_network_of_signs_is_told(made, plan, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        DEVICE.deploy(projected(made.eval(), plan), X[:1], plan, [X])
