"""Several processes (gloo) train to the same weights as one with as large a batch."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).parent / "distributed.py"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def trained(processes: int, folder: Path) -> list[dict[str, torch.Tensor]]:
    """The weights of every process."""
    output, port = folder / f"of-{processes}", str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(processes), port, str(output)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    for process in started:
        errors = process.communicate(timeout=240)[1]
        assert process.returncode == 0, errors
    return [load_file(f"{output}-{rank}.safetensors") for rank in range(processes)]


def test_two_processes_are_one(tmp_path):
    pytest.importorskip("accelerate")
    (alone,) = trained(1, tmp_path)
    first, second = trained(2, tmp_path)
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name])
        assert torch.allclose(first[name], weight, atol=1e-5), name
    assert float((alone["first.weight"] == 0).float().mean()) >= 0.75
