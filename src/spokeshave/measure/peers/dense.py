"""Every peer that this machine has, running the dense network; each is checked before it may be timed."""

import copy
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram

from spokeshave.batch import first_sample
from spokeshave.errors import SpokeshaveError
from spokeshave.measure.interleave import Progress
from spokeshave.measure.peers.onnx_runtime import onnx_runtime, onnx_runtime_int8
from spokeshave.measure.peers.openvino import openvino, openvino_bf16, openvino_int8
from spokeshave.measure.peers.peer import (
    TOLERANCES,
    Absent,
    Peer,
    PeerError,
    Precision,
    Run,
    Task,
    relative_error,
)
from spokeshave.measure.peers.pytorch import channels_last, compiled, eager, in_bfloat16
from spokeshave.measure.peers.worker import WorkerRun
from spokeshave.measure.quiet import quietly
from spokeshave.processor import limited_threads


@dataclass(frozen=True)
class Maker:
    """How to get a peer: its name in tables, its package, what makes it ready to run, and its precision."""

    label: str
    package: str
    make: Callable[[Task], Run]
    precision: Precision = "fp32"


def _half(make: Callable[[Task], Run]) -> Callable[[Task], Run]:
    return lambda task: make(in_bfloat16(task))


PEERS: Mapping[str, Maker] = {
    "eager": Maker("PyTorch eager", "torch", eager),
    "channels_last": Maker("PyTorch eager, channels last", "torch", channels_last),
    "compile": Maker("torch.compile", "torch", compiled),
    "onnxruntime": Maker("ONNX Runtime", "onnxruntime", onnx_runtime),
    "openvino": Maker("OpenVINO", "openvino", openvino),
    "eager_bf16": Maker("PyTorch eager", "torch", _half(eager), "bf16"),
    "channels_last_bf16": Maker("PyTorch eager, channels last", "torch", _half(channels_last), "bf16"),
    "compile_bf16": Maker("torch.compile", "torch", _half(compiled), "bf16"),
    "openvino_bf16": Maker("OpenVINO", "openvino", openvino_bf16, "bf16"),
    "onnxruntime_int8": Maker("ONNX Runtime", "onnxruntime", onnx_runtime_int8, "int8"),
    "openvino_int8": Maker("OpenVINO", "openvino", openvino_int8, "int8"),
}

FLOAT32_PEERS = tuple(name for name, maker in PEERS.items() if maker.precision == "fp32")


def dense_peers(
    network: nn.Module | ExportedProgram,
    example: Tensor | tuple[Tensor, ...],
    threads: int = 1,
    only: Collection[str] | None = None,
    progress: Progress | None = None,
    makers: Mapping[str, Maker] = PEERS,
    folder: Path | None = None,
    batched: bool = False,
) -> tuple[list[Peer], list[Absent]]:
    """The peers that run `network` on the first sample of `example`, and those that cannot, with reasons.

    With `batched` they run it on all of its samples in one call.
    `only` names some of `makers`; those of float32 take part otherwise. A peer whose outputs differ from eager
    PyTorch's by more than its precision's limit (`TOLERANCES`) is left out. The peers work on a copy of the
    network in evaluation mode; run them under `limited_threads(threads)`. `folder` keeps converted networks for
    another call with the same network and sample. Raises SpokeshaveError for an unknown name or a network that
    cannot be copied.
    """
    chosen = _chosen(only, makers)
    peers: list[Peer] = []
    absent: list[Absent] = []
    with _kept_or_temporary(folder) as conversions, limited_threads(threads):
        whole = example if isinstance(example, tuple) else (example,)
        inputs = whole if batched else first_sample(network, example)
        task = Task(_evaluation_copy(network), inputs, threads, conversions)
        expected = eager(task)()
        for index, maker in enumerate(chosen):
            made = _make(maker, task, expected)
            (peers if isinstance(made, Peer) else absent).append(made)  # type: ignore[arg-type]
            if progress:
                progress(index + 1, len(chosen), f"{maker.label} {maker.precision}")
    return peers, absent


def _make(maker: Maker, task: Task, expected: Any) -> Peer | Absent:
    """A checked peer, or why there is none: whatever a foreign runtime raises is its reason."""
    try:
        with quietly():
            run = maker.make(task)
            error = relative_error(run(), expected)
    except PeerError as refusal:
        return Absent(maker.label, str(refusal), maker.precision)
    except Exception as failure:
        return Absent(maker.label, _first_line(failure), maker.precision)
    limit = TOLERANCES[maker.precision]
    if error == float("inf"):
        reason = "its outputs are not numbers, or have other shapes than PyTorch's"
        return Absent(maker.label, reason, maker.precision)
    if error > limit:
        difference = f"its outputs differ from PyTorch's by {error:.1e} of the largest (limit {limit:.0e})"
        return Absent(maker.label, difference, maker.precision)
    found = run.version if isinstance(run, WorkerRun) else version(maker.package)
    return Peer(maker.label, maker.precision, found, run, error)


def _chosen(only: Collection[str] | None, makers: Mapping[str, Maker]) -> list[Maker]:
    if only is None:
        return [maker for maker in makers.values() if maker.precision == "fp32"]
    for name in only:
        if name not in makers:
            raise SpokeshaveError(f"there is no peer {name!r}; known ones are {', '.join(makers)}")
    return [makers[name] for name in only]


@contextmanager
def _kept_or_temporary(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


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
