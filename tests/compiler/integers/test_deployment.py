"""Deployments in whole numbers: called, saved and loaded as others are; sums may be a device's own."""

import json
import re

import pytest
import torch
from torch import nn

from spokeshave.compiler.integers import (
    IntegerDeployment,
    IntegerForm,
    load_integer_deployment,
    whole_network,
)
from spokeshave.compiler.quantization.executor import integer_sums
from spokeshave.deployment import Cost
from spokeshave.errors import SpokeshaveError

FORM = IntegerForm(rescale="multiplier")
DAMAGED = r"integers\.json is damaged: its digest is not that of what it says; save the deployment again"
COST = Cost("modelled", "nothing", latency_seconds=1e-3, weight_bytes=100, by_layer=(("0", 1e-3),))


class Two(nn.Module):
    """Two outputs, nested; a table; something that stays float32."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        y = nn.functional.silu(self.first(x))
        return {"sum": torch.relu(self.second(y) + y), "share": (y.mean((2, 3)).softmax(1),)}


def deployed(products=None):
    network, x = Two().eval(), torch.randn(19, 3, 7, 9)
    whole = whole_network(network, x, [x], FORM)
    return IntegerDeployment(whole, FORM, COST, "mine", products), x


def test_a_saved_deployment_computes_the_same(tmp_path):
    deployment, x = deployed()
    expected = deployment(x)
    deployment.save(tmp_path / "saved")
    deployment.save(tmp_path / "saved")  # replaces itself
    loaded = load_integer_deployment(tmp_path / "saved")
    made = loaded(x)
    assert torch.equal(made["sum"], expected["sum"])
    assert torch.equal(made["share"][0], expected["share"][0])
    assert (loaded.manifest, loaded.cost) == (deployment.manifest, COST)
    assert loaded.manifest.floats == (("softmax (Softmax)", "Softmax has no form in whole numbers"),)
    assert [entry.layer for entry in loaded.manifest.accumulators][:2] == ["first", "second"]


def test_sums_of_a_devices_own_are_used():
    """Inputs bit by bit, as crossbars read them: the same numbers."""
    plain, _ = deployed()
    weights = plain.graph.weights

    def by_bits(node, x):
        operation, total = node.operation, 0
        for bit in range(8):
            plane = ((x.long() >> bit) & 1) + operation.input.zero_point
            total = total + (integer_sums(operation, plane, weights[operation.weight]).long() << bit)
        at_zero = torch.zeros_like(x).long() + 2 * operation.input.zero_point
        return total - integer_sums(operation, at_zero, weights[operation.weight]).long()

    calls = []
    bitwise = IntegerDeployment(
        plain.network, FORM, COST, products=lambda node, x: calls.append(node) or by_bits(node, x)
    )
    x = torch.randn(5, 3, 7, 9)
    assert torch.equal(bitwise(x)["sum"], plain(x)["sum"])
    assert len(calls) == 2


def test_wrong_inputs_and_folders_get_one_sentence(tmp_path):
    deployment, x = deployed()
    with pytest.raises(SpokeshaveError, match="the network takes"):
        deployment(x[:, :2])
    with pytest.raises(SpokeshaveError, match=r"holds no integers\.json"):
        load_integer_deployment(tmp_path)
    deployment.save(tmp_path / "saved")
    path = tmp_path / "saved" / "integers.json"
    document = json.loads(path.read_text())
    for change, said in (
        ({"format": 0}, "has format 0, this version reads format 2"),
        ({"graph": {}}, DAMAGED),
        ({"files": {}}, DAMAGED),
        ({"sha256": None}, DAMAGED),
        ({"device": 5}, DAMAGED),
        ({"cost": document["cost"] | {"kind": "measured"}}, DAMAGED),
        ({"form": document["form"] | {"accumulator_bits": 8}}, DAMAGED),
    ):
        path.write_text(json.dumps(document | change))
        with pytest.raises(SpokeshaveError, match=said):
            load_integer_deployment(tmp_path / "saved")


def test_a_changed_scale_is_seen(tmp_path):
    deployment, _ = deployed()
    deployment.save(tmp_path / "saved")
    path = tmp_path / "saved" / "integers.json"
    text = path.read_text()
    changed = re.sub(r'("scale": )([0-9.]+)', lambda found: f"{found[1]}{2 * float(found[2])}", text, count=1)
    assert changed != text
    path.write_text(changed)
    with pytest.raises(SpokeshaveError, match=DAMAGED):
        load_integer_deployment(tmp_path / "saved")


@pytest.mark.parametrize("products", [False, True])
def test_no_samples_give_empty_outputs(products):
    plain, x = deployed()
    weights = plain.graph.weights

    def sums(node, x):
        return integer_sums(node.operation, x, weights[node.operation.weight])

    deployment = IntegerDeployment(plain.network, FORM, COST, products=sums if products else None)
    made = deployment(x[:0])
    assert (made["sum"].shape, made["share"][0].shape) == ((0, 4, 5, 7), (0, 4))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_inputs_without_levels_are_refused(number):
    deployment, x = deployed()
    x[3, 1, 2, 2] = number
    with pytest.raises(
        SpokeshaveError, match="x holds NaN or infinite numbers, and whole numbers have neither"
    ):
        deployment(x)


@pytest.mark.parametrize("number", [0, 1.5])
def test_calibration_data_of_one_number_are_refused(number):
    x = torch.full((5, 3, 7, 9), float(number))
    with pytest.raises(
        SpokeshaveError, match=f"shows no range of values: x is always {number}; give samples"
    ):
        whole_network(Two().eval(), x, [x], FORM)
