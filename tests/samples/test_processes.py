"""Several processes (gloo) see a part of the examples each and exchange the same ones."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.processes import run_processes

SCRIPT = Path(__file__).with_name("distributed.py")


def kept(processes: int, folder: Path) -> list[dict[str, torch.Tensor]]:
    output = folder / f"of-{processes}"
    run_processes(SCRIPT, processes, f"{output}-store", str(output))
    return [load_file(f"{output}-{rank}") for rank in range(processes)]


def test_two_processes_exchange_what_one_does(tmp_path: Path) -> None:
    (alone,), (first, second) = kept(1, tmp_path), kept(2, tmp_path)
    assert torch.equal(first["kept"], second["kept"])
    assert torch.equal(first["kept"], alone["kept"])
    assert first["used"].tolist() == second["used"].tolist() == alone["used"].tolist() == [48] * 4
