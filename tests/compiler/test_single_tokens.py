"""One token behind a past: layers run on one vector, and caches are joined from and to where the caller has them."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.compiler.own_process import SAMPLES, run_in_own_process
from tests.compiler.test_sanitizers import SANITIZERS, isa_here
from torch import Tensor, nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.export import export_network

HEADS, SIZE, PAST, WIDTH = 3, 8, 21, 24


class Block(nn.Module):
    """A decoder's block; what it is given and gives back are the tokens, the past keys and the past values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.inward, self.outward = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.expand, self.contract = nn.Linear(WIDTH, 50), nn.Linear(50, WIDTH)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = self.inward(self.first(x)).split(WIDTH, 2)
        query, key, value = (part.unflatten(2, (HEADS, SIZE)).transpose(1, 2) for part in parts)
        keys, values = torch.cat([keys, key], 2), torch.cat([values, value], 2)
        mixed = F.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
        x = x + self.outward(mixed)
        return x + self.contract(F.gelu(self.expand(self.second(x)))), keys, values


def block_and_inputs(samples: int) -> tuple[nn.Module, tuple[Tensor, ...], tuple[Tensor, ...]]:
    torch.manual_seed(0)
    past = (torch.randn(samples, HEADS, PAST, SIZE) for _ in range(2))
    network, given = Block().eval(), (torch.randn(samples, 1, WIDTH), *past)
    with torch.no_grad():
        return network, given, network(*given)


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("name", ["avx512", "avx2", "portable"])
def test_equal_on_memory_of_exact_sizes(name: str, sanitizer: str, tmp_path: Path) -> None:
    isa = isa_here(name)
    network, given, wanted = block_and_inputs(SAMPLES)
    graph = optimise(import_program(export_network(network, given)).graph)
    program = lower(graph, isa, {})
    kernels = {call.kernel.name for step in program.steps for call in step.calls if call.kernel}
    assert not any(kernel.startswith("panel") for kernel in kernels)
    assert [step.operation for step in program.steps if not step.layer].count("input") == 1
    results = run_in_own_process(graph, program, list(given), isa, SANITIZERS[sanitizer], tmp_path)
    for result, reference in zip(results, wanted, strict=True):
        assert (result - reference).abs().max() <= 1e-5 * reference.abs().max()


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 2e-2), ("int8", 6e-2)])
def test_in_lower_precision(precision: str, tolerance: float) -> None:
    network, given, wanted = block_and_inputs(2)
    calibration = [(given,)] if precision == "int8" else None
    deployment = compile_network(network, given, precision=precision, calibration=calibration)
    for result, reference in zip(deployment(*given), wanted, strict=True):
        assert (result - reference).norm() <= tolerance * reference.norm()
