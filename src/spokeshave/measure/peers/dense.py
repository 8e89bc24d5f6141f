"""Every peer that this machine has, running the dense network; each is checked before it may be timed."""

import copy
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram

from spokeshave.errors import SpokeshaveError
from spokeshave.export import one_sample
from spokeshave.measure.interleave import Progress
from spokeshave.measure.peers.onnx_runtime import onnx_runtime
from spokeshave.measure.peers.openvino import openvino
from spokeshave.measure.peers.peer import TOLERANCE, Absent, Peer, PeerError, Run, Task, relative_error
from spokeshave.measure.peers.pytorch import channels_last, compiled, eager
from spokeshave.measure.quiet import quietly
from spokeshave.processor import limited_threads


@dataclass(frozen=True)
class Maker:
    """How to get a peer: its name in tables, its package, and the function that makes it ready to run."""

    label: str
    package: str
    make: Callable[[Task], Run]


PEERS: dict[str, Maker] = {
    "eager": Maker("PyTorch eager", "torch", eager),
    "channels_last": Maker("PyTorch eager, channels last", "torch", channels_last),
    "compile": Maker("torch.compile", "torch", compiled),
    "onnxruntime": Maker("ONNX Runtime", "onnxruntime", onnx_runtime),
    "openvino": Maker("OpenVINO", "openvino", openvino),
}


def dense_peers(
    network: nn.Module | ExportedProgram,
    example: Tensor | tuple[Tensor, ...],
    threads: int = 1,
    only: Collection[str] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Peer], list[Absent]]:
    """The peers that run `network` on the first sample of `example`, and those that cannot, with reasons.

    `only` names some of `PEERS`. A peer whose outputs differ from eager PyTorch's by more than 1e-3 of the
    largest output is left out. The peers work on a copy of the network in evaluation mode; run them under
    `limited_threads(threads)`. Raises SpokeshaveError for an unknown name or a network that cannot be copied.
    """
    names = _chosen(only)
    task = Task(_evaluation_copy(network), one_sample(example), threads)
    peers: list[Peer] = []
    absent: list[Absent] = []
    with limited_threads(threads):
        expected = eager(task)()
        for index, name in enumerate(names):
            made = _make(PEERS[name], task, expected)
            (peers if isinstance(made, Peer) else absent).append(made)  # type: ignore[arg-type]
            if progress:
                progress(index + 1, len(names), made.name)
    return peers, absent


def _make(maker: Maker, task: Task, expected: Any) -> Peer | Absent:
    """A checked peer, or why there is none: whatever a foreign runtime raises is its reason."""
    try:
        with quietly():
            run = maker.make(task)
            error = relative_error(run(), expected)
    except PeerError as reason:
        return Absent(maker.label, str(reason))
    except Exception as failure:
        return Absent(maker.label, _first_line(failure))
    if error > TOLERANCE:
        limits = f"by {error:.1e} of the largest (limit {TOLERANCE:.0e})"
        return Absent(maker.label, f"its outputs differ from PyTorch's {limits}")
    return Peer(maker.label, "fp32", version(maker.package), run)


def _chosen(only: Iterable[str] | None) -> list[str]:
    names = list(PEERS) if only is None else list(only)
    for name in names:
        if name not in PEERS:
            raise SpokeshaveError(f"there is no peer {name!r}; known ones are {', '.join(PEERS)}")
    return names


def _evaluation_copy(network: nn.Module | ExportedProgram) -> nn.Module:
    """A copy, for the peers must not change the user's network, nor follow its later training."""
    if isinstance(network, ExportedProgram):
        return network.module()
    try:
        return copy.deepcopy(network).eval()
    except Exception as error:
        raise SpokeshaveError(f"the network cannot be copied for its peers: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
