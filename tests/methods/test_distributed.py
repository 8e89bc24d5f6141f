"""Several processes (gloo) train to the same weights as one with as large a batch."""

import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.processes import run_processes

SCRIPT = Path(__file__).parent / "distributed.py"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


METHODS = ("admm", "during", "taylor", "reconstruction")


def trained(processes: int, folder: Path) -> dict[str, list[dict[str, torch.Tensor]]]:
    """By method, the weights of every process."""
    output = folder / f"of-{processes}"
    run_processes(SCRIPT, processes, str(free_port()), str(output))
    return {
        name: [load_file(f"{output}-{name}-{rank}.safetensors") for rank in range(processes)]
        for name in METHODS
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("distributed")
    return {processes: trained(processes, folder) for processes in (1, 2)}


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_are_one(runs, method):
    (alone,), (first, second) = runs[1][method], runs[2][method]
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], weight, atol=1e-5), name
    assert float((alone["first.weight"] == 0).float().mean()) >= 0.75
