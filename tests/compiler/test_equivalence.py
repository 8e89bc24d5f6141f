"""The matrix: network x scheme x precision x instruction set x threads, each against PyTorch on the same weights.

Tolerances are of the largest output: 1e-4 for float32; root mean square, 0.01 for bfloat16 and 0.1 for int8, whose
rounding is the network's own (their kernels are held to executors that round likewise elsewhere).
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.compiler import compile_network
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks

FLOAT_TOLERANCE, BFLOAT16_TOLERANCE, INTEGER_TOLERANCE = 1e-4, 0.01, 0.1


class Convolutions(nn.Module):
    """Residual, depthwise, strided and pointwise convolutions, pooling and a head; odd sizes throughout."""

    example = (3, 13, 11)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 20, 3, padding=1), nn.BatchNorm2d(20), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(20, 20, 3, padding=1, bias=False), nn.BatchNorm2d(20))
        self.depthwise = nn.Conv2d(20, 20, 3, 2, padding=1, groups=20)
        self.pointwise = nn.Conv2d(20, 33, 1)
        self.head = nn.Linear(33, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.first(images)
        features = F.relu(self.second(features) + features)
        features = F.hardtanh(self.pointwise(F.relu6(self.depthwise(features))), -3.0, 3.0)
        return self.head(F.max_pool2d(features, 2).mean((2, 3)))


class Attention(nn.Module):
    """A transformer block over 19 tokens with a head on their mean."""

    example = (19, 24)

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(24), nn.LayerNorm(24)
        self.query, self.key, self.value, self.output = (nn.Linear(24, 24) for _ in range(4))
        self.expand, self.contract = nn.Linear(24, 50), nn.Linear(50, 24)
        self.head = nn.Linear(24, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        normal = self.norm1(tokens)
        heads = [
            layer(normal).unflatten(-1, (3, 8)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        ]
        mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        tokens = tokens + self.output(mixed)
        tokens = tokens + self.contract(F.gelu(self.expand(self.norm2(tokens))))
        return self.head(tokens.mean(1))


class Decoder(nn.Module):
    """Language models' block, written out: RMS norms, causal attention with shared keys, two of three experts."""

    example = (19, 24)

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(24) + 0.5)
        self.query, self.key, self.value = nn.Linear(24, 24), nn.Linear(24, 8), nn.Linear(24, 8)
        self.router, self.experts = nn.Linear(24, 3), nn.Parameter(torch.randn(3, 24, 24) * 0.2)
        self.head = nn.Linear(24, 5)

    def norm(self, tokens: Tensor) -> Tensor:
        return self.scale * (tokens * torch.rsqrt(tokens.pow(2).mean(-1, keepdim=True) + 1e-5))

    def forward(self, tokens: Tensor) -> Tensor:
        normal = self.norm(tokens)
        query = self.query(normal).unflatten(-1, (6, 4)).transpose(1, 2)
        key, value = (
            layer(normal)
            .unflatten(-1, (2, 4))
            .transpose(1, 2)[:, :, None]
            .expand(-1, -1, 3, -1, -1)
            .flatten(1, 2)
            for layer in (self.key, self.value)
        )
        later = torch.full((19, 19), torch.finfo(torch.float32).min).triu(1)
        mixed = torch.softmax(query @ key.transpose(2, 3) / 2.0 + later, -1) @ value
        tokens = tokens + mixed.transpose(1, 2).flatten(2)
        rows = self.norm(tokens).flatten(0, 1)
        shares, numbers = self.router(rows).softmax(-1).topk(2)
        pairs = rows.repeat_interleave(2, 0).unsqueeze(-1)
        made = torch.bmm(self.experts[numbers.flatten()], pairs).squeeze(-1) * shares.reshape(-1, 1)
        return self.head(tokens + F.silu(made.unflatten(0, (-1, 2)).sum(1)).unflatten(0, (-1, 19)))


class Recurrence(nn.Module):
    """A bidirectional GRU below an LSTM, and a head on the last step."""

    example = (9, 7)

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(7, 17, bidirectional=True, batch_first=True)
        self.lstm = nn.LSTM(34, 19, batch_first=True)
        self.head = nn.Linear(19, 5)

    def forward(self, steps: Tensor) -> Tensor:
        return self.head(self.lstm(self.gru(steps)[0])[0][:, -1])


NETWORKS = {kind.__name__: kind for kind in (Convolutions, Attention, Decoder, Recurrence)}
SCHEMES = {
    "dense": None,
    "unstructured": Unstructured(0.8),
    "block_column_row": BlockColumnRow(0.75, (4, 8)),
    "block_column_row_rows": BlockColumnRow(0.75, (8, 8), 0.5),
    "block_structured": BlockStructured(0.7, (4, 8)),
    "compressed_blocks": CompressedBlocks(0.7, (4, 4)),
    "blocks": Blocks(0.7, (4, 4)),
    "n_of_m": NOfM(),
    "density_adaptive": DensityAdaptiveBlocks(0.7),
    "patterns": Patterns(0.5),
}


def pruned(kind: type[nn.Module], scheme) -> tuple[nn.Module, Plan | None]:
    """A network of this kind, every layer that can be in the scheme pruned to it; None where there is none."""
    torch.manual_seed(5)
    network = kind().eval()
    return network, prune(network, scheme)


def prune(network: nn.Module, scheme) -> Plan | None:
    """Prune every layer that can be in the scheme to it, tables of zeros left out; skip where there is none."""
    if scheme is None:
        return None
    names = [
        name
        for name, weight in network.named_parameters()
        if weight.dim() > 1 and weight.any() and scheme.supports(tuple(weight.shape)) is None
    ]
    if not names:
        pytest.skip("no layer of this network can be in this scheme")
    plan = Plan(tuple(Rule(name, scheme) for name in names))
    begin(OneShot(), network, plan).finish()
    return plan


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("kind", NETWORKS.values(), ids=NETWORKS)
def test_float32(kind, scheme, isa):
    network, plan = pruned(kind, scheme)
    batch = torch.randn(3, *kind.example)
    deployment = compile_network(network, batch[:1], plan, isa=isa)
    assert deployment.fallen_out == ()
    with torch.inference_mode():
        wanted = network(batch)
    for threads in (1, 2):
        deployment.threads = threads
        assert (deployment(batch) - wanted).abs().max() <= FLOAT_TOLERANCE * wanted.abs().max()


@pytest.mark.parametrize(
    "scheme", [SCHEMES["dense"], SCHEMES["block_column_row"]], ids=["dense", "block_column_row"]
)
@pytest.mark.parametrize("kind", [Convolutions, Attention])
def test_int8(kind, scheme, isa):
    network, plan = pruned(kind, scheme)
    batches = [torch.randn(8, *kind.example) for _ in range(3)]
    deployment = compile_network(
        network, batches[0][:1], plan, isa=isa, precision="int8", calibration=batches
    )
    with torch.inference_mode():
        wanted = network(batches[0])
    for threads in (1, 2):
        deployment.threads = threads
        error = (deployment(batches[0]) - wanted).square().mean().sqrt()
        assert error <= INTEGER_TOLERANCE * wanted.square().mean().sqrt()


@pytest.mark.parametrize(
    "scheme",
    [SCHEMES["dense"], BlockColumnRow(0.5, (4, 8), column_group=2), SCHEMES["n_of_m"]],
    ids=["dense", "block_column_row", "n_of_m"],
)
@pytest.mark.parametrize("kind", NETWORKS.values(), ids=NETWORKS)
def test_bfloat16(kind, scheme, integer_isa):
    network, plan = pruned(kind, scheme)
    batch = torch.randn(3, *kind.example)
    deployment = compile_network(network, batch[:1], plan, isa=integer_isa, precision="bfloat16")
    assert any(layer.precision == "bfloat16" for layer in deployment.manifest.layers)
    with torch.inference_mode():
        wanted = network(batch)
    for threads in (1, 2):
        deployment.threads = threads
        error = (deployment(batch) - wanted).square().mean().sqrt()
        assert 0 < error <= BFLOAT16_TOLERANCE * wanted.square().mean().sqrt()
