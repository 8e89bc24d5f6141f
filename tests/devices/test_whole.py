"""Costs and deployments in whole numbers agree about what runs elsewhere."""

import pytest
import torch
from torch import nn

from spokeshave.devices import load_device
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.workload import trace

DEVICES = ("zcu102", "integers-multiplier", "integers-shift")


class Volumes(nn.Module):
    """A convolution over three axes and a linear layer behind it."""

    def __init__(self):
        super().__init__()
        self.volume, self.head = nn.Conv3d(2, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.volume(x).mean((2, 3, 4)))


class Paired(nn.Module):
    """A product of two activations that is no attention."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        made = self.layer(x)
        return self.head(made @ made.transpose(1, 2) @ made)


class Attends(nn.Module):
    """Attention between two linear layers."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0])


def deployed(name, network, x):
    return load_device(name).deploy(network.eval(), x, None, [torch.randn(8, *x.shape[1:])])


@pytest.mark.parametrize("name", DEVICES)
def test_convolutions_over_three_axes_cost_nothing_there(name):
    x = torch.randn(1, 2, 4, 4, 4)
    made = deployed(name, Volumes(), x)
    assert [layer for layer, _ in made.cost.by_layer] == ["head"]
    assert dict(made.cost.left_out) == {"volume": "convolutions over 3 axes have no form in whole numbers"}
    assert "volume (aten.conv3d.default)" in dict(made.manifest.floats)
    with pytest.raises(SpokeshaveError, match="can run no layer of the network: 0: convolutions over 3 axes"):
        load_device(name).cost(trace(nn.Sequential(nn.Conv3d(2, 4, 3)), x))
    plan = Plan((Rule("volume", FixedPoint(4)),))
    with pytest.raises(SpokeshaveError, match=r"cannot run volume under .*over 3 axes"):
        load_device(name).cost(trace(Volumes(), x), plan)


@pytest.mark.parametrize("name", DEVICES)
def test_other_products_of_activations_run_elsewhere(name):
    made = deployed(name, Paired(), torch.randn(1, 5, 6))
    assert [layer for layer, _ in made.cost.by_layer] == ["layer", "head"]
    assert {reason for _, reason in made.cost.left_out} == {"stays float32, so it runs elsewhere"}
    assert len(made.cost.left_out) == 2


@pytest.mark.parametrize("name", DEVICES)
def test_a_network_of_such_products_alone_is_refused(name):
    with pytest.raises(SpokeshaveError, match=r"can run no layer of the network: .*MatMul has no form"):
        deployed(name, Squared(), torch.randn(1, 5, 6))


class Squared(nn.Module):
    """A product of an activation with itself."""

    def forward(self, x):
        return x @ x.transpose(1, 2)


@pytest.mark.parametrize("name", DEVICES)
def test_attention_is_computed_where_it_is_counted(name):
    x = torch.randn(1, 5, 8)
    made = deployed(name, Attends(), x)
    assert len(made.cost.by_layer) == len(trace(Attends(), x).layers) == 5
    assert made.cost.left_out == ()
    assert [layer for layer, _ in made.manifest.floats] == ["attention (Softmax)"]


@pytest.mark.parametrize("name", ["zcu102", "isaac", "integers-shift"])
@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        (["a"], r"a calibration batch must be a tensor of inputs, or a tuple .*, not of type str"),
        ([1], r"a calibration batch must be a tensor"),
        (5, r"the calibration data must be batches of inputs, not of type int"),
        (None, r"it needs calibration data \(`calibration`, --calibration\)"),
        ([torch.full((2, 8), float("nan"))], r"the calibration data holds NaN"),
    ],
)
def test_calibration_data_of_another_kind_is_told(name, calibration, sentence):
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    with pytest.raises(SpokeshaveError, match=sentence):
        load_device(name).deploy(network, torch.rand(1, 8), None, calibration)


def test_calibration_data_of_float64_are_taken():
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    x = torch.rand(16, 8)
    made = [load_device("zcu102").deploy(network, x[:1], None, [data]) for data in (x, x.double())]
    assert torch.equal(made[0](x), made[1](x))


@pytest.mark.parametrize("name", ["zcu102", "isaac", "integers-shift", "galaxy-s10"])
def test_weights_that_are_no_numbers_are_named(name):
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    network[2].weight.data[1, 2] = float("nan")
    with pytest.raises(SpokeshaveError, match=r"2\.weight holds NaN"):
        load_device(name).deploy(network, torch.rand(1, 8), None, [torch.rand(4, 8)])
