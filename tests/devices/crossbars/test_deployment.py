"""Networks on crossbars: the integer network itself where nothing is lost, and else what crossbars make of it."""

import pytest
import torch
from tests.devices.crossbars.damage import refused_when_changed
from torch import Tensor, nn

from spokeshave.compiler.integers import load_integer_deployment
from spokeshave.compiler.integers.batched import run_batch
from spokeshave.devices import load_device
from spokeshave.devices.crossbars.deployment import CrossbarProducts
from spokeshave.devices.saved import load_saved
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan, Rule
from spokeshave.processor import limited_threads
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.workload import trace

ISAAC, FORMS = load_device("isaac"), load_device("forms")
PLAN = Plan((Rule("*.weight", Polarized(8) & FixedPoint(8)),))


class Small(nn.Module):
    """Strides, padding, groups, a residual and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, (3, 1), padding=(1, 0), groups=2, bias=False)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x) + x)
        return self.last(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = Small().eval()
    nn.init.normal_(network.norm.weight)  # some are negative: folded in, they turn signs of whole rows
    begin(OneShot(), network, PLAN).finish()
    return network


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(12, 3, 9, 11, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "device",
    [
        ISAAC.with_figures(variation=0, input_bits=8, effective_bits=8),
        ISAAC.with_figures(variation=0),
        FORMS.with_figures(variation=0, input_bits=8, effective_bits=8).with_facts(flipped=True),
        FORMS.with_figures(variation=0, rows_at_once=4, adc_bits=4),
        ISAAC.with_figures(variation=0, adc_bits=9).with_facts(encoding="pairs"),
    ],
    ids=["isaac", "isaac, 16 bits", "forms", "forms by 4", "pairs"],
)
def test_without_loss_it_is_the_integer_network(device, network, images):
    assert device.array.lossless
    with limited_threads(1):
        deployment = device.deploy(network, images[:1], PLAN, [images])
        exact = run_batch(deployment.graph, (images,))[0]
        assert torch.equal(deployment(images), exact)
        slow = {
            name: type(layer)(tuple(map(column_by_column, layer.groups)), layer.shape)
            for name, layer in deployment._products.layers.items()
        }
        assert torch.equal(run_batch(deployment.graph, (images,), CrossbarProducts(slow))[0], exact)
    torch.testing.assert_close(exact, network(images), atol=0.1, rtol=0.1)


def column_by_column(programmed):
    """The same matrix, whose products are simulated even where nothing can be lost."""

    class Slow(type(programmed)):
        def products(self, x: Tensor) -> Tensor:
            return self.simulated(x)

    return Slow(**vars(programmed))


def test_recurrent_layers_multiply_on_crossbars_too():
    class Heard(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.steps = nn.LSTM(6, 10, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.steps(x)[0]

    torch.manual_seed(0)
    network, x = Heard().eval(), torch.randn(3, 5, 6)
    with limited_threads(1):
        deployment = ISAAC.with_figures(variation=0).deploy(network, x[:1], None, [x])
        assert len(deployment._products.layers) == 2
        assert torch.equal(deployment(x), run_batch(deployment.graph, (x,))[0])
        narrow = ISAAC.with_figures(adc_bits=3).deploy(network, x[:1], None, [x])
        assert not torch.equal(narrow(x), deployment(x))


def test_variation_and_narrow_converters_change_results(network, images):
    with limited_threads(1):
        exact = FORMS.with_figures(variation=0, adc_bits=8).deploy(network, images[:1], PLAN, [images])(
            images
        )
        varied = [
            FORMS.with_figures(adc_bits=8).deploy(network, images[:1], PLAN, [images], seed=s)(images)
            for s in (0, 0, 1)
        ]
        clipped = FORMS.with_figures(variation=0, adc_bits=2).deploy(network, images[:1], PLAN, [images])(
            images
        )
    assert torch.equal(varied[0], varied[1])
    assert not torch.equal(varied[0], varied[2])
    assert 0 < float((varied[0] - exact).norm()) < float((clipped - exact).norm())


def test_costs_are_by_the_bits_that_were_needed(network, images):
    with limited_threads(1):
        forms = FORMS.deploy(network, images[:1], PLAN, [images])
        isaac = ISAAC.deploy(network, images[:1], PLAN, [images])
    workload = trace(network, images[:1])
    all_bits = {layer.name: 16.0 for layer in workload.layers}
    assert forms.cost.energy_joules < FORMS.cost(workload, PLAN, all_bits).energy_joules
    assert isaac.cost == ISAAC.cost(workload, PLAN)


def test_what_crossbars_refuse(network, images):
    with pytest.raises(SpokeshaveError, match="isaac computes with whole numbers: it needs calibration data"):
        ISAAC.deploy(network, images[:1])
    with pytest.raises(SpokeshaveError, match=r"forms cannot run first: its weights need Polarized\(8\)"):
        FORMS.deploy(network, images[:1], None, [images])
    torch.manual_seed(1)
    with pytest.raises(SpokeshaveError, match=r"first: .* of \d+ fragments of 8 have weights of both signs"):
        FORMS.deploy(Small().eval(), images[:1], Plan((Rule("*.weight", Polarized(8)),)), [images])


@pytest.mark.parametrize("device", [ISAAC, FORMS, ISAAC.with_figures(variation=0, adc_bits=4)])
def test_a_saved_deployment_has_the_same_cells(device, network, images, tmp_path):
    with limited_threads(1):
        made = device.deploy(network, images[:1], PLAN, [images], seed=3)
        made.save(tmp_path / "saved")
        made.save(tmp_path / "saved")  # replaces itself
        loaded = load_saved(tmp_path / "saved")
        assert torch.equal(loaded(images), made(images))
    assert (loaded.cost, loaded.manifest, loaded.bits) == (made.cost, made.manifest, made.bits)
    with pytest.raises(
        SpokeshaveError, match="is no deployment in integers: it is a deployment on crossbars"
    ):
        load_integer_deployment(tmp_path / "saved")
    refused_when_changed(tmp_path / "saved" / "crossbars.json", '"device": "', '"device": "another-')
    (tmp_path / "saved" / "state.safetensors").unlink()
    with pytest.raises(SpokeshaveError, match=r"state\.safetensors is missing"):
        load_saved(tmp_path / "saved")
