"""Arrays of whole numbers: their files, their costs, and deployments that compute as the file says."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from spokeshave.data import Batches
from spokeshave.devices import load_device
from spokeshave.devices.catalogue import _files
from spokeshave.errors import SpokeshaveError
from spokeshave.measure.accuracy import evaluate
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.workload import trace


def small():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 4)).eval()
    return network, torch.randn(20, 3, 6, 6)


@pytest.mark.parametrize("name", ["integers-shift", "integers-multiplier"])
def test_accuracy_is_that_of_what_the_device_computes(name):
    network, x = small()
    device = load_device(name)
    deployment = device.deploy(network, x, calibration=[x])
    assert deployment.manifest.form == device.form
    labels = deployment(x).argmax(1)
    assert evaluate(deployment, Batches(x, labels, 7)).top1 == 1
    assert deployment.cost == device.cost(trace(network, x))
    assert "accumulator bits: 32" in device.describe()


class Heard(nn.Module):
    """A recurrent network that is asked once, at the end."""

    def __init__(self, kind):
        super().__init__()
        self.steps, self.head = getattr(nn, kind)(6, 10, batch_first=True), nn.Linear(10, 4)

    def forward(self, x):
        return self.head(self.steps(x)[0][:, -1])


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
@pytest.mark.parametrize("name", ["integers-shift", "integers-multiplier", "zcu102"])
def test_recurrent_networks_are_whole(name, kind):
    torch.manual_seed(0)
    network, x = Heard(kind).eval(), torch.randn(20, 9, 6)
    deployment = load_device(name).deploy(network, x, calibration=[x])
    assert deployment.manifest.floats == ()
    kinds = [type(node.operation).__name__ for node in deployment.graph.nodes]
    assert kinds == ["Quantize", "WholeRecurrent", "Slice", "Reshape", "Quantized"]
    assert (deployment(x) - network(x)).norm() < 0.05 * network(x).norm()


def test_cost_is_the_formula():
    network, x = small()
    device = load_device("integers-multiplier")
    figures = {key: figure.value for key, figure in device.figures.items()}
    work, outputs, weights = 216 * 16 + 512, 128 + 4, 216 + 512
    moved = weights + (108 + 128) + (128 + 4)
    cost = device.cost(trace(network, x))
    bandwidth_bound = moved / figures["bandwidth"]
    assert cost.kind == "modelled"
    assert cost.latency_seconds == pytest.approx(bandwidth_bound)
    assert cost.weight_bytes == weights
    joules = work * (figures["multiply_energy"] + figures["add_energy"])
    joules += outputs * figures["rescale_energy"] + moved * figures["byte_energy"]
    assert cost.energy_joules == pytest.approx(joules)
    fewer = device.cost(trace(network, x), Plan((Rule("*", FixedPoint(4)),)))
    assert fewer.weight_bytes == weights / 2
    halves = MixedRows(FixedPoint(8), FixedPoint(4))
    assert device.cost(trace(network, x), Plan((Rule("*", halves),))).weight_bytes == weights * 6 / 8
    slower = replace(device, figures=device.figures | {"clock": replace(device.figures["clock"], value=1.0)})
    assert slower.cost(trace(network, x)).latency_seconds == pytest.approx(work / 1024)


def test_schemes_that_a_device_cannot_use_are_refused_with_the_reason():
    network, x = small()
    convolution = trace(network, x).layers[0]
    shift, multiplier = load_device("integers-shift"), load_device("integers-multiplier")
    assert multiplier.supports(PowerOfTwo(4), convolution) is None
    assert multiplier.supports(Unstructured(0.5) & FixedPoint(4), convolution) is None
    both = Plan((Rule("0", Unstructured(0.5) & FixedPoint(8)),))
    for name in ("integers-multiplier", "zcu102"):
        device = load_device(name)
        cost, levels = (
            device.cost(trace(network, x), one) for one in (both, Plan((Rule("0", FixedPoint(8)),)))
        )
        assert cost.source == f"{levels.source}, which computes with the zeros too"
        assert cost == replace(levels, source=cost.source)
    assert "multiplies weights of 8 bits, not 9" in multiplier.supports(FixedPoint(9), convolution)
    assert "computes with the zeros too" in multiplier.supports(Unstructured(0.5), convolution)
    assert "no multiples of a scale" in multiplier.supports(Codebook(4), convolution)
    assert "shifts alone" in shift.supports(FixedPoint(8), convolution)
    network[0].weight.data = FixedPoint(4).project(network[0].weight.data)
    with pytest.raises(
        SpokeshaveError, match=r"cannot run 0 under FixedPoint.*: integers-shift rescales by shifts"
    ):
        shift.deploy(network, x, Plan((Rule("0", FixedPoint(4)),)), [x])
    with pytest.raises(SpokeshaveError, match="it needs calibration data"):
        shift.deploy(network, x)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"power_of_two"', '"binary"', r"line \d+: scales.value must be one of arbitrary, power_of_two"),
        ('"tensor"', '"row"', r"line \d+: per.value contradicts itself: rescaling by shifts alone needs"),
        ("value = 32\n", "value = 32.5\n", r"line \d+: accumulator_bits.value must be a whole number"),
        ("[joins]", "[joints]", "joints is not known here"),
    ],
)
def test_a_malformed_file_gets_line_and_key(tmp_path, old, new, said):
    path = tmp_path / "mine.toml"
    path.write_text(_files()["integers-shift"].read_text().replace(old, new))
    with pytest.raises(SpokeshaveError, match=said):
        load_device(str(path))
