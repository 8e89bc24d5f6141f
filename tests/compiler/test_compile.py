"""Whole networks: the compiled one equals PyTorch on the same weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.compile import pack_planned
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.export import export_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.quantizers import Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.unstructured import Unstructured

RELATIVE_TOLERANCE = 1e-4


class Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Conv2d(channels_in, channels, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


def residual_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Block(16, 16, 1),
        Block(16, 32, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def mobile_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        nn.Conv2d(16, 16, 5, padding=2, groups=16, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU6(),
        nn.Conv2d(16, 24, 1),
        nn.SiLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Flatten(),
        nn.LazyLinear(32),
        nn.GELU(),
        nn.Linear(32, 10),
        nn.Softmax(-1),
    )


class TokenMixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 24, 4, 4)
        self.norm = nn.LayerNorm(24)
        self.up, self.down = nn.Linear(24, 48), nn.Linear(48, 24)
        self.attention = nn.MultiheadAttention(24, 2, batch_first=True)
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        tokens = tokens + self.down(F.gelu(self.up(self.norm(tokens))))
        return self.head(tokens.mean(1))


NETWORKS = {"residual": residual_network, "mobile": mobile_network, "tokens": TokenMixer}
SCHEMES = {
    "dense": None,
    "unstructured": Unstructured(0.9),
    "columns": BlockColumnRow(0.875, block=(4, 16)),
    "rows": BlockColumnRow(0.875, block=(8, 24), row_sparsity=0.5),
}


def pruned(name: str, scheme) -> tuple[nn.Module, Plan | None]:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    network(torch.randn(2, 3, 16, 16))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    chosen = [
        name
        for name in names[1:-1]
        if network.get_submodule(name).weight[0].numel() >= 24 and "attention" not in name
    ]
    if scheme is None:
        return network, None
    for layer in chosen:
        weight = network.get_submodule(layer).weight
        weight.data = scheme.project(weight.data)
    return network, Plan(tuple(Rule(layer, scheme) for layer in chosen))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_compiled_equals_pytorch(name, scheme, isa):
    network, plan = pruned(name, SCHEMES[scheme])
    deployment = compile_network(network, torch.randn(1, 3, 16, 16), plan, isa)
    x = torch.randn(5, 3, 16, 16)
    with torch.inference_mode():
        reference = network(x)
    error = (deployment(x) - reference).abs().max() / reference.abs().max()
    assert error <= RELATIVE_TOLERANCE
    assert torch.equal(deployment(x[:1])[0], deployment(x)[0]), "a sample's result depends on its batch"


@pytest.mark.parametrize("levels", [FixedPoint(8), PowerOfTwo(4), Codebook(6)])
def test_planned_levels_survive_a_folded_batch_norm(levels):
    network, plan = pruned("residual", BlockColumnRow(0.5, block=(8, 24), row_sparsity=0.25) & levels)
    x = torch.randn(5, 3, 16, 16)
    with torch.inference_mode():
        reference = network(x)
    deployment = compile_network(network, x[:1], plan)
    assert (deployment(x) - reference).abs().max() <= RELATIVE_TOLERANCE * reference.abs().max()


def test_operators_without_a_kernel_are_named_with_layer_and_reason():
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.after = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.after(self.before(x).sort(-1)[0])

    network, x = Sorted().eval(), torch.randn(4, 6)
    deployment = compile_network(network, x)
    (stage,) = deployment.fallen_out
    assert "sort" in stage.target
    assert stage.layer
    assert stage.reason
    torch.testing.assert_close(deployment(x), network(x))


def test_outputs_keep_their_structure():
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 2)

        def forward(self, x, y):
            return {"first": self.a(x), "others": (self.b(y), x)}

    network, x, y = TwoHeads().eval(), torch.randn(4, 6), torch.randn(4, 6)
    result = compile_network(network, (x, y))(x, y)
    torch.testing.assert_close(result["first"], network.a(x))
    torch.testing.assert_close(result["others"][0], network.b(y))
    assert torch.equal(result["others"][1], x)


class Products(nn.Module):
    """A product with a weight that is held the other way round, as GPT-2 of `transformers` holds its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Module()
        self.layer.weight = nn.Parameter(torch.randn(24, 24))

    def forward(self, x):
        return x @ self.layer.weight


def test_blocks_of_a_weight_that_is_held_the_other_way_round_are_not_the_kernels():
    torch.manual_seed(0)
    network, scheme, x = Products(), BlockColumnRow(0.75, (8, 8), 0.5), torch.randn(1, 9, 24)
    network.layer.weight.data = scheme.project(network.layer.weight.data)
    imported = import_program(export_network(network, x)).graph
    graph = optimise(imported)
    named = {name: scheme for node in graph.nodes for name in (f"{node.layer}.weight", "layer.weight")}
    assert pack_planned(graph, imported, named) == {}
    plan = Plan((Rule("layer.weight", scheme),))
    torch.testing.assert_close(compile_network(network, x, plan)(x), network(x), rtol=1e-4, atol=1e-5)
