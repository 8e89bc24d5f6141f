"""Transposed convolutions against PyTorch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.reference import run_reference
from spokeshave.export import export_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.unstructured import Unstructured

TOLERANCE = 1e-5


def close(result: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    assert result.shape == wanted.shape
    assert (result - wanted).abs().max() <= tolerance * max(1.0, wanted.abs().max().item())


def layer_of(draw, spatial: int) -> tuple[nn.Module, Tensor]:
    """Any layer that PyTorch takes, and an input for it."""
    groups, number = draw(st.integers(1, 3)), st.integers(1, 3)
    kernel, stride, dilation = (tuple(draw(number) for _ in range(spatial)) for _ in range(3))
    size = tuple(draw(st.integers(1, 6)) for _ in range(spatial))
    reach = [(n - 1) * s + d * (k - 1) for n, s, d, k in zip(size, stride, dilation, kernel, strict=True)]
    padding = tuple(draw(st.integers(0, most // 2)) for most in reach)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    kind = nn.ConvTranspose1d if spatial == 1 else nn.ConvTranspose2d
    channels = groups * draw(number), groups * draw(number)
    layer = kind(*channels, kernel, stride, padding, extra, groups, draw(st.booleans()), dilation)
    return layer.eval(), torch.randn(2, channels[0], *size)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), spatial=st.sampled_from([1, 2]))
def test_the_ordinary_convolution_computes_the_same(data, spatial):
    layer, x = layer_of(data.draw, spatial)
    imported = import_program(export_network(layer, x)).graph
    (result,) = run_reference(optimise(imported), [x[:1]])
    with torch.no_grad():
        close(result, layer(x[:1]))


CASES = {
    "4x4, stride 2": (nn.ConvTranspose2d(5, 9, 4, 2, 1), (5, 7, 6)),
    "3x3, stride 2, groups": (nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2), (6, 5, 8)),
    "depthwise, stride 3": (nn.ConvTranspose2d(5, 5, (5, 2), (3, 2), groups=5), (5, 4, 19)),
    "dilation": (nn.ConvTranspose2d(3, 4, 3, (1, 2), 1, (0, 1), dilation=2, bias=False), (3, 6, 5)),
    "from one position": (nn.ConvTranspose2d(7, 6, 4), (7, 1, 1)),
    "to one position": (nn.ConvTranspose2d(4, 3, 3, 2, 2), (4, 2, 2)),
    "sequence": (nn.ConvTranspose1d(6, 10, 8, 4, 2), (6, 21)),
}


class Layers(nn.Module):
    """Every case on an input of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer for layer, _ in CASES.values())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer, x in zip(self.layers, inputs, strict=True))


def test_kernels(isa):
    torch.manual_seed(0)
    network, inputs = Layers().eval(), tuple(torch.randn(3, *shape) for _, shape in CASES.values())
    deployment = compile_network(network, inputs, isa=isa)
    assert deployment.fallen_out == ()
    for threads in (1, 3):
        deployment.threads = threads
        with torch.no_grad():
            for result, wanted in zip(deployment(*inputs), network(*inputs), strict=True):
                close(result, wanted)


class Decoder(nn.Module):
    """Up twice, with batch norms and activations, and a sum with what another branch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(12, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU()
        )
        self.out = nn.Sequential(nn.ConvTranspose2d(16, 8, 3, 2, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.side = nn.Conv2d(16, 16, 3, padding=1)
        for norm in (self.up[1], self.out[1]):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return self.out(x + self.side(x))


def pruned() -> tuple[nn.Module, Plan, Tensor]:
    torch.manual_seed(0)
    network, plan = Decoder().eval(), Plan((Rule("*", Unstructured(0.8)),))
    with torch.no_grad():
        for name, scheme in plan.resolve(network).items():
            network.get_parameter(name).copy_(scheme.project(network.get_parameter(name)))
    return network, plan, torch.randn(4, 12, 9, 7)


def test_norms_and_activations_are_taken_in():
    network, _, x = pruned()
    graph = optimise(import_program(export_network(network, x)).graph)
    kinds = [type(node.operation).__name__ for node in graph.nodes]
    assert kinds == ["Convolution", "Interleave", "Convolution", "Convolution", "Interleave"]


def test_pruned_weights_stay_packed():
    network, plan, x = pruned()
    deployment = compile_network(network, x, plan)
    with torch.no_grad():
        close(deployment(x), network(x))
    dense = compile_network(Decoder().eval(), x)
    assert deployment.manifest.weight_bytes < 0.6 * dense.manifest.weight_bytes


def test_int8():
    network, plan, x = pruned()
    deployment = compile_network(network, x, plan, precision="int8", calibration=[x])
    assert {layer.precision for layer in deployment.manifest.layers} == {"int8"}
    with torch.no_grad():
        wanted = network(x)
    assert (deployment(x) - wanted).square().mean().sqrt() <= 0.03 * wanted.square().mean().sqrt()


def test_three_axes_say_why_not():
    network, x = nn.ConvTranspose3d(2, 3, 2), torch.randn(1, 2, 3, 3, 3)
    (stage,) = compile_network(network, x).fallen_out
    assert stage.reason == "conv_transpose3d has no kernel"
