"""Whole networks in int8: bit for bit the executor's, close to float32, and layers that cost too much left out."""

import pytest
import torch
from torch import nn

from spokeshave.compiler import compile_network, load_deployment
from spokeshave.compiler.compile import build, generate
from spokeshave.compiler.emit.lower import supports
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.isa import best_here
from spokeshave.compiler.native import NativeDeployment
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.quantization.choose import Int8, joined, lower_precision
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.segments import cut
from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network
from spokeshave.schemes.quantizers import Codebook, FixedPoint


class Residual(nn.Module):
    """Strides, a residual, a padded convolution of values on both sides of zero, a pool between, a classifier."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, 2, 1)
        self.norm = nn.BatchNorm2d(10)
        self.second = nn.Conv2d(10, 10, 3, 1, 1)
        self.third = nn.Conv2d(10, 13, 1)
        self.fourth = nn.Conv2d(13, 13, 3, 1, 1, groups=13)
        self.head = nn.Linear(13, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.second(x) + x)
        x = self.third(nn.functional.max_pool2d(x, 2))
        return self.head(self.fourth(x).mean((2, 3)))


class Block(nn.Module):
    """The two projections of a transformer's feed-forward half, with its norm and residual."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(12)
        self.up, self.down = nn.Linear(12, 30), nn.Linear(30, 12)

    def forward(self, x):
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pieces(network, x, settings):
    graph = optimise(import_program(export_network(network, x)).graph)
    return graph, *lower_precision(graph, cut(graph, supports), settings, best_here())


def test_a_network_computes_what_the_executor_does():
    network, x = Residual().eval(), torch.randn(3, 3, 21, 17)
    settings = Int8([x, x], error_budget=None)
    graph, parts, layers = pieces(network, x, settings)
    deployment = compile_network(network, x, precision="int8", calibration=[x])
    assert [layer.precision for layer in layers] == ["int8"] * 5
    (expected,) = run_reference(joined(graph, parts), [x])
    # The mean between is float32, summed in another order: what is rounded after it may be a level apart.
    assert torch.allclose(deployment(x), expected, atol=3 * layers[-1].input.scale)
    difference = (deployment(x) - network(x)).square().mean() / network(x).square().mean()
    assert difference.sqrt() < 0.1


def test_a_feed_forward_block_passes_integers_between_its_projections():
    network, x = Block().eval(), torch.randn(2, 9, 12)
    deployment = compile_network(network, x, precision="int8", calibration=[(x, None)])
    up, down = (layer for layer in deployment.manifest.layers)
    assert up.output == down.input
    assert down.output is None
    assert (deployment(x) - network(x)).abs().max() < 0.1


def test_layers_over_a_single_position_pass_integers_on():
    network = nn.Sequential(nn.Linear(20, 70), nn.ReLU(), nn.Linear(70, 9)).eval()
    x = torch.randn(3, 20)
    graph, parts, (first, second) = pieces(network, x, Int8([x], error_budget=None))
    assert first.output == second.input
    (expected,) = run_reference(joined(graph, parts), [x])
    assert torch.equal(compile_network(network, x, precision="int8", calibration=[x])(x), expected)


def test_layers_above_the_budget_stay_float32_and_say_so(tmp_path):
    network, x = Residual().eval(), torch.randn(3, 3, 21, 17)
    with torch.no_grad():  # one weight hides all others of its row: 8 bits are too few for this layer
        network.second.weight[:, 1, 0, 0] = 1000
        network.norm.weight[1] = 0  # what that weight reads is 0
        network.norm.bias[1] = 0
    deployment = NativeDeployment(*build(generate(network, x, precision=Int8([x], error_budget=0.05))))
    precisions = {layer.layer: layer for layer in deployment.manifest.layers}
    assert precisions["second"].precision == "float32"
    assert "above the budget" in precisions["second"].reason
    assert precisions["third"].precision == "int8"
    assert len(precisions["third"].weight_scale) == 13
    deployment.save(tmp_path / "saved")
    loaded = load_deployment(tmp_path / "saved")
    assert loaded.manifest == deployment.manifest
    assert torch.equal(loaded(x), deployment(x))


def test_codes_that_int8_rounds_again_are_named():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32))
    with torch.no_grad():
        for layer, scheme in zip(network[::2], (Codebook(4), FixedPoint(4)), strict=True):
            layer.weight.copy_(scheme.project(layer.weight))
    inputs = torch.randn(8, 64)
    generated = generate(network, inputs[:1], precision=Int8([inputs]))
    reasons = [layer.reason for layer in generated.manifest.layers]
    assert {layer.precision for layer in generated.manifest.layers} == {"int8"}
    assert "so int8 rounded them again, by up to 0." in reasons[0]
    assert reasons[1] == ""


def test_no_budget_at_all_leaves_everything_float32():
    network, x = Residual().eval(), torch.randn(2, 3, 21, 17)
    generated = generate(network, x, precision=Int8([x], error_budget=0.0))
    assert {layer.precision for layer in generated.manifest.layers} == {"float32"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"precision": "int4"}, "no precision 'int4'"),
        ({"precision": "int8"}, "needs calibration data"),
        ({"precision": "int8", "calibration": []}, "calibration data is empty"),
        (
            {"precision": "int8", "calibration": [torch.ones(1, 4, 8, 8)]},
            "sample has shape 4x8x8, the network was compiled for 3x8x8",
        ),
    ],
)
def test_mistakes_are_named(arguments, complaint):
    with pytest.raises(SpokeshaveError, match=complaint):
        compile_network(nn.Conv2d(3, 4, 3), torch.randn(1, 3, 8, 8), **arguments)
