"""Attention, embeddings, routing and lengths that change under sanitizers, on memory of exact sizes."""

from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.compiler.emit.test_products import selected
from tests.compiler.own_process import SAMPLES, run_in_own_process
from tests.compiler.test_sanitizers import SANITIZERS, isa_here
from tests.compiler.test_selected_tokens import made
from torch import Tensor, nn

from spokeshave.batch import BatchAxes
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.exports import Exports
from spokeshave.compiler.following import following, following_selectors
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.operations import Quantization
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.quantization.selected import selected_layers_to_integers
from spokeshave.compiler.reference import run_reference
from spokeshave.export import export_network
from spokeshave.methods import Polynomials, approximate
from spokeshave.schemes.unstructured import Unstructured

MOST, LENGTHS = (25, 17), (5, 16)  # tokens are lanes where three experts share so many


class Routed(nn.Module):
    """Words behind a past, attention with shared keys and a mask, routed experts, products and sums of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(31, 20), nn.Embedding(44, 20)
        self.query, self.key, self.value = nn.Linear(20, 20), nn.Linear(20, 10), nn.Linear(20, 10)
        self.gate, self.experts = nn.Linear(20, 3), nn.Parameter(torch.randn(3, 7, 20))
        self.many = nn.Parameter(torch.randn(30, 11, 20) * (torch.rand(30, 11, 20) < 0.4))  # most unasked for

    def forward(self, words: Tensor, past: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        first, count = past.shape[2], words.shape[1]
        x = self.words(words) + self.positions(torch.arange(first, first + count))
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-3)
        heads = [
            layer(x).unflatten(2, (-1, 5)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        ]
        keys, values = (torch.cat([past, new], 2) for new in heads[1:])
        mixed = F.scaled_dot_product_attention(heads[0], keys, values, mask[:, None, None], enable_gqa=True)
        x = x + mixed.transpose(1, 2).flatten(2)
        share, number = self.gate(x).softmax(-1)[0].topk(2)
        pairs = x[0].repeat_interleave(2, 0).unsqueeze(-1)
        routed = torch.bmm(self.experts[number.flatten()], pairs).squeeze(-1).unflatten(0, (-1, 2))
        weighed = routed * (share / share.sum(-1, keepdim=True)).unsqueeze(-1)
        apart = torch.bmm(self.many[number.flatten()], pairs).squeeze(-1).unsqueeze(0)
        return weighed.sum(1).unsqueeze(0), apart, (keys.transpose(2, 3) @ values).tanh().sum((2, 3)), keys


def inputs(tokens: int, past: int) -> list[Tensor]:
    words, mask = torch.randint(0, 31, (SAMPLES, tokens)), torch.rand(SAMPLES, tokens + past).log()
    return [words, torch.randn(SAMPLES, 2, past, 5), mask]


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_no_step_outside_and_no_race(name: str, sanitizer: str, tmp_path: Path) -> None:
    isa = isa_here(name)
    torch.manual_seed(0)
    network, given = Routed().eval(), inputs(*LENGTHS)
    dynamic = {"tokens": {"words": 1, "mask": 1}, "past": {"past": 2, "mask": 1}}
    example = tuple(inputs(*MOST))
    exports = Exports(network, example)
    exports.batch = BatchAxes((0, 0, 0), None)  # the network is written for one sample
    graph, _, _ = following(exports, dynamic)
    with torch.no_grad():
        rows = [network(*(tensor[i : i + 1] for tensor in given)) for i in range(SAMPLES)]
    wanted = [torch.cat(column) for column in zip(*rows, strict=True)]
    shapes = [tuple(tensor.shape) for tensor in wanted]
    flags = SANITIZERS[sanitizer]
    results = run_in_own_process(
        graph, lower(graph, isa, {}), given, isa, flags, tmp_path, lengths=LENGTHS, shapes=shapes
    )
    for result, reference in zip(results, wanted, strict=True):
        assert (result - reference).abs().max() <= 1e-4 * reference.abs().max()


class Phases(nn.Module):
    """Transposed convolutions of both kinds, behind one another and from one position."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(3, 5, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(5, 2, 3, (3, 1))
        )
        self.sequence = nn.ConvTranspose1d(2, 3, 5, 2, 1, 1)
        self.grow = nn.ConvTranspose2d(6, 2, 3)

    def forward(self, x: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        return self.up(x), self.sequence(x[:, :2, 0]), self.grow(row[..., None, None])


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_phases_and_integer_experts(name: str, sanitizer: str, tmp_path: Path) -> None:
    isa = isa_here(name)
    torch.manual_seed(0)
    network, given = Phases().eval(), [torch.randn(SAMPLES, 3, 5, 7), torch.randn(SAMPLES, 6)]
    phases = optimise(import_program(export_network(network, tuple(given))).graph)
    experts, routed = selected(19, 4, 21, 33, [None, Unstructured(0.7)])
    experts = selected_layers_to_integers(experts, set(experts.outputs), {"x0": Quantization(0.03, 120)})
    routed = [tensor[:1].expand(SAMPLES, *tensor.shape[1:]).contiguous() for tensor in routed]
    for number, (graph, inputs) in enumerate([(phases, given), (experts, routed)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        program, wanted = lower(graph, isa, {}), run_reference(graph, inputs)
        results = run_in_own_process(graph, program, inputs, isa, SANITIZERS[sanitizer], folder)
        for result, reference in zip(results, wanted, strict=True):
            assert (result - reference).abs().max() <= 1e-5 * reference.abs().max()


@cache
def selecting(polynomials: bool) -> tuple[Graph, Tensor]:
    """A transformer of three selectors as a graph, and images."""
    network, images = made("package")
    if polynomials:
        approximate(network, Polynomials())
    exports = Exports(network, images[:1])
    graph = following_selectors(exports, optimise(import_program(exports.program((0,))).graph))
    return graph, images[:SAMPLES]


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512", "portable"])
@pytest.mark.parametrize("polynomials", [False, True], ids=["exact", "polynomials"])
def test_selected_tokens(polynomials: bool, name: str, sanitizer: str, tmp_path: Path) -> None:
    isa = isa_here(name)
    graph, images = selecting(polynomials)
    results = run_in_own_process(graph, lower(graph, isa, {}), images, isa, SANITIZERS[sanitizer], tmp_path)
    for result, reference in zip(results, run_reference(graph, [images]), strict=True):
        assert (result - reference).abs().max() <= 1e-4 * reference.abs().max()
