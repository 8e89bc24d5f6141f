"""Peers that live in environments of their own, which `python -m bench.prepare` makes."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from spokeshave.measure.peers import PEERS, Maker, PeerError, PeerLateError, Task, WorkerRun
from spokeshave.measure.peers.onnx_file import onnx_file

HERE = Path(__file__).parent
ENVIRONMENTS, SCRIPTS = HERE / "environments", HERE / "peers"


class _Leaves(nn.Module):
    """A network whose outputs are plain tensors: another environment lacks the classes that hold them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(leaf for leaf in tree_leaves(self.network(*inputs)) if leaf is not None)


def _exported_program(task: Task) -> None:
    path = task.folder / "network.pt2"
    if not path.exists():
        torch.export.save(torch.export.export(_Leaves(task.network), task.inputs, strict=False), path)


def _torchscript(task: Task) -> None:
    path = task.folder / "network.pt"
    if not path.exists():
        torch.jit.trace(_Leaves(task.network), task.inputs, check_trace=False).save(path)


def _worker(name: str, convert: Callable[[Task], object], task: Task) -> WorkerRun:
    python = ENVIRONMENTS / name / "bin" / "python"
    if not python.exists():
        raise PeerError(f"its environment is missing: python -m bench.prepare {name}")
    late = task.folder / f"{name}-late.txt"
    if late.exists():
        raise PeerError(late.read_text())
    convert(task)
    try:
        return WorkerRun((str(python), str(SCRIPTS / f"{name}_worker.py")), task)
    except PeerLateError as reason:
        late.write_text(str(reason))  # once is enough
        raise


deepsparse = partial(_worker, "deepsparse", partial(onnx_file, older=True))

WORKERS: Mapping[str, Maker] = {
    "litert": Maker("LiteRT, XNNPACK", "ai-edge-litert", partial(_worker, "litert", _exported_program)),
    "mnn": Maker("MNN", "MNN", partial(_worker, "mnn", onnx_file)),
    "ncnn": Maker("ncnn", "ncnn", partial(_worker, "ncnn", _torchscript)),
    "deepsparse": Maker("DeepSparse", "deepsparse", deepsparse),
}

DENSE: Mapping[str, Maker] = {**PEERS, **WORKERS}
"""Every peer that runs a dense network."""

SPARSE: Mapping[str, Maker] = {
    "deepsparse": Maker("DeepSparse, unstructured zeros", "deepsparse", deepsparse),
}
"""Peers that make use of zeros; they run a network with as many weights left as ours."""
