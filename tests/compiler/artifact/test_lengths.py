"""Plain C whose lengths are arguments: equal to PyTorch at each, clean under sanitizers, and refusing others."""

import subprocess
from pathlib import Path

import pytest
import torch
from tests.compiler.artifact.artifact_build import STRICT, build, skip_unless_runnable
from tests.compiler.test_dynamic import Cached

from spokeshave.compiler import generate
from spokeshave.compiler.artifact import run_as_c, write_artifact
from spokeshave.compiler.generated import Generated

MOST = (9, 13)


def inputs(tokens: int, past: int) -> tuple[torch.Tensor, ...]:
    words, keys = torch.randint(0, 31, (2, tokens)), torch.randn(2, 3, past, 8)
    return words, keys, torch.zeros(2, tokens + past)


@pytest.fixture(scope="module")
def network() -> Cached:
    torch.manual_seed(0)
    return Cached().eval()


def as_c(network: Cached, isa: str) -> Generated:
    dynamic = {"tokens": {"words": 1, "mask": 1}, "past": {"past": 2, "mask": 1}}
    return generate(network, inputs(*MOST), isa=isa, dynamic=dynamic)


@pytest.mark.parametrize("target", ["portable", pytest.param("neon", marks=pytest.mark.slow)])
def test_every_length_equals_pytorch(network, target):
    skip_unless_runnable(target)
    generated = as_c(network, target)
    flags = ("-O1", *STRICT, *(("-fsanitize=address,undefined",) if target == "portable" else ()))
    for lengths in (MOST, (1, 1), (4, 6)):
        given = inputs(*lengths)
        with torch.no_grad():
            reference = network(*given)
        for result, wanted in zip(run_as_c(generated, given, flags).outputs, reference, strict=True):
            torch.testing.assert_close(result, wanted, rtol=1e-4, atol=1e-5)


def test_other_lengths_are_refused(network, tmp_path: Path):
    write_artifact(as_c(network, "portable"), tmp_path)
    assert "| length[1] | past | 13 |" in (tmp_path / "README.md").read_text()
    program = build(tmp_path)
    for lengths in (("0", "3"), ("9", "14"), ("x", "1")):
        command = [program, *lengths, *("missing" for _ in range(5))]
        finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert finished.returncode == 5
        assert "a length out of range" in finished.stderr
