"""What all costs have in common: nothing is free that multiplies, and what `supports` refuses they refuse."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.devices import device_names, load_device
from spokeshave.devices.capabilities import example_of
from spokeshave.devices.profile import profile
from spokeshave.errors import SpokeshaveError
from spokeshave.networks import binary_perceptron
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.registry import SCHEMES
from spokeshave.workload import trace

DEVICES = device_names()
MODELS = tuple(name for name in DEVICES if name != "host")
DENSE = tuple(
    name for name in MODELS if name not in ("aqfp", "forms", "zcu102-binary")
)  # that take networks without a plan
MAPS_ALONE = ("isaac", "integers-multiplier", "integers-shift", "zcu102")  # no convolutions over three axes


class Mixture(nn.Module):
    """A linear layer, and a product that is written as an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix = nn.Linear(4, 4), nn.Parameter(torch.ones(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bi,oi->bo", self.first(x), self.mix)


class Attending(nn.Module):
    """Attention and a layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.attention(x, x, x, need_weights=False)[0])


class Multiplied(nn.Module):
    """A product with a parameter that is no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


def normalised() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.ReLU())


NETWORKS = {
    "volume": (nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU()), torch.ones(1, 2, 6, 6, 6)),
    "volume, transposed": (nn.Sequential(nn.ConvTranspose3d(2, 4, 3), nn.ReLU()), torch.ones(1, 2, 3, 3, 3)),
    "transposed": (nn.Sequential(nn.ConvTranspose2d(2, 4, 4, 2, 1), nn.ReLU()), torch.ones(1, 2, 6, 6)),
    "attention": (Attending(), torch.ones(1, 5, 16)),
    "parameter": (Multiplied(), torch.ones(1, 3, 4)),
    "computed weight": (normalised(), torch.ones(1, 4)),
}


@pytest.fixture(scope="module")
def workloads():
    return {kind: trace(network.eval(), example) for kind, (network, example) in NETWORKS.items()}


@pytest.mark.parametrize("name", DENSE)
def test_what_multiplies_costs_something_or_is_named_as_left_out(name, workloads):
    device = load_device(name)
    for kind in (kind for kind in NETWORKS if name not in MAPS_ALONE or not kind.startswith("volume")):
        cost, layers = device.cost(workloads[kind]), workloads[kind].layers
        told = [layer for layer, _ in (*cost.by_layer, *cost.left_out)]
        assert layers
        assert sorted(told) == sorted(layer.name for layer in layers)
        assert all(seconds > 0 for _, seconds in cost.by_layer)
        assert cost.weight_bytes >= sum(layer.weight_count for layer in layers) // 2
        assert len(cost.left_out) == 2 * (kind == "attention" and name == "isaac")


def test_what_crossbars_cannot_hold_is_refused_by_name(workloads):
    for kind in (kind for kind in NETWORKS if kind.startswith("volume")):
        with pytest.raises(SpokeshaveError, match="isaac cannot run 0: crossbars run convolutions over"):
            load_device("isaac").cost(workloads[kind])
    assert load_device("isaac").cost(workloads["attention"]).left_out == 2 * (
        ("attention", "a product of two activations, which has no weights to program"),
    )


@pytest.mark.parametrize("name", DEVICES)
def test_an_operator_of_unknown_sizes_is_refused_by_name(name):
    workload, device = trace(Mixture().eval(), torch.ones(1, 4)), load_device(name)
    with pytest.raises(SpokeshaveError, match=f"the network: einsum multiplies matrices, and {name} has no"):
        device.cost(workload)


@pytest.mark.parametrize("name", DEVICES)
def test_a_network_without_matrices_is_refused(name):
    workload = trace(nn.Softmax(1), torch.ones(1, 4))
    with pytest.raises(SpokeshaveError, match="the network multiplies no matrices"):
        load_device(name).cost(workload)


@pytest.mark.parametrize("name", MODELS)
def test_costs_take_the_schemes_that_supports_does_and_no_others(name):
    device = load_device(name)
    network, example = nn.Sequential(nn.Conv2d(16, 64, 3, bias=False)).eval(), torch.ones(1, 16, 4, 4)
    workload = trace(network, example)
    for chosen in (example_of(key) for key in SCHEMES if key not in ("intersection", "stacked")):
        plan, reason = Plan((Rule("0", chosen),)), device.supports(chosen, workload.layers[0])
        if reason is None:
            assert device.cost(workload, plan).latency_seconds > 0
            continue
        with pytest.raises(SpokeshaveError) as refused:
            device.cost(workload, plan)
        assert str(refused.value) == f"{name} cannot run 0 under {chosen}: {reason}"


@pytest.mark.parametrize("name", [name for name in MODELS if load_device(name).deployment])
def test_deployments_refuse_what_costs_do(name):
    network, example = nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval(), torch.ones(1, 8)
    for scheme in (Codebook(4), PowerOfTwo(5)):
        if load_device(name).supports(scheme, trace(network, example).layers[0]) is not None:
            with pytest.raises(SpokeshaveError, match=f"{name} cannot run 0 under {type(scheme).__name__}"):
                load_device(name).deploy(network, example, Plan((Rule("0", scheme),)), [example])


def test_a_transposed_convolution_takes_the_crossbars_that_its_deployment_programs():
    device = load_device("isaac").with_figures(variation=0)
    for settings in ({}, {"stride": 2, "padding": 1}, {"stride": 2, "groups": 2, "dilation": 2}):
        torch.manual_seed(0)
        network, x = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, **settings)).eval(), torch.randn(3, 4, 5, 4)
        (layer,) = device.layers(trace(network, x[:1]))
        made = device.deploy(network, x[:1], None, [x])
        (programmed,) = made._products.layers.values()
        one = programmed.groups[0]
        assert (layer.groups, layer.lines) == (len(programmed.groups), len(one.mapped.lines))
        assert layer.columns == int(one.weight.any(1).sum()) * device.array.cells_per_weight
        node = next(node for node in made.graph.nodes if "Quantized" in type(node.operation).__name__)
        assert layer.vectors == torch.Size(made.graph.shape(node.outputs[0])[2:]).numel()
        torch.testing.assert_close(made(x), network(x), atol=0.05, rtol=0.05)


def test_profiles_name_what_is_not_counted():
    profiled = profile(Attending().eval(), torch.ones(1, 5, 16), load_device("isaac"))
    assert [(row.layer, row.weights) for row in profiled.rows] == [
        ("attention", 48 * 16),
        ("attention", 16 * 16),  # its last product
        ("last", 4 * 16),
    ]
    assert profiled.source.endswith("not counted: attention")
    binary = Plan((Rule("2.weight", Binary()),))
    found = profile(binary_perceptron(64, (8,), 3), torch.ones(1, 64), load_device("aqfp"), binary)
    assert [row.layer for row in found.rows] == ["2"]
    assert found.source.endswith("not counted: 5")


def test_layers_that_share_a_name_are_told_by_their_parameter():
    attending, x = Attending().eval(), torch.ones(1, 5, 16)
    plan = Plan((Rule("attention.in_proj_weight", FixedPoint(9)),))
    with pytest.raises(SpokeshaveError, match=r"cannot run attention\.in_proj_weight under FixedPoint"):
        load_device("integers-multiplier").cost(trace(attending, x), plan)
    with pytest.raises(
        SpokeshaveError, match=r"forms cannot run attention\.in_proj_weight: its weights need"
    ):
        load_device("forms").cost(trace(attending, x))


def test_each_weight_of_a_recurrent_layer_has_its_own_bits():
    workload = trace(nn.LSTM(8, 16, batch_first=True), torch.ones(1, 3, 8))
    device = load_device("integers-multiplier")
    plan = Plan((Rule("weight_ih_l0", FixedPoint(2)), Rule("weight_hh_l0", FixedPoint(4))))
    assert device.bits(workload, plan) == (2, 4)
    assert device.cost(workload, plan).weight_bytes == 64 * 8 * 2 // 8 + 64 * 16 * 4 // 8


def test_no_scheme_by_rows_on_weights_whose_rows_are_inputs():
    layer = trace(nn.ConvTranspose2d(2, 4, 3), torch.ones(1, 2, 5, 5)).layers[0]
    product = trace(Multiplied(), torch.ones(1, 3, 4)).layers[0]
    for name in ("zcu102", "integers-multiplier"):
        for one in (layer, product):
            assert "the rows of its weight are inputs" in load_device(name).supports(PowerOfTwo(4), one)
    assert "do not lie along word lines" in load_device("forms").supports(Polarized(8), layer)
    assert "over maps" in load_device("aqfp").supports(Binary(), layer)


def test_weights_that_layers_share_count_once():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.two(self.one(x)))

    workload = trace(Twice(), torch.ones(1, 4))
    assert workload.weight_count == 16
    assert load_device("integers-multiplier").cost(workload).weight_bytes == 16
