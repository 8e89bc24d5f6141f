"""A compiled network: native segments with PyTorch between them where an operator has no kernel."""

import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from spokeshave.compiler.build import load_library
from spokeshave.compiler.importer import OutputStructure
from spokeshave.compiler.isa import instruction_set, instruction_sets, runs_here
from spokeshave.compiler.manifest import (
    LIBRARY,
    MANIFEST,
    SOURCE,
    WEIGHTS,
    ForeignStage,
    Manifest,
    SegmentStage,
    ValueRecord,
    read_manifest,
    write_manifest,
)
from spokeshave.compiler.runtime import ForeignRunner, SegmentRunner, Values, aligned_copy
from spokeshave.deployment import Cost
from spokeshave.errors import SpokeshaveError

COST_ROUNDS = 11


@dataclass(frozen=True)
class LayerTime:
    """Time of one step of a deployment for one sample, in seconds."""

    layer: str
    operation: str
    kernel: str
    seconds: float


class NativeDeployment:
    """A network compiled for a CPU; call it with the network's own inputs, any batch size, from any thread.

    Shapes are those of the network's inputs with any number of samples in front; element types must match; tensors
    must be on the CPU. Raises SpokeshaveError otherwise.
    """

    def __init__(self, manifest: Manifest, source: str, tensors: Mapping[str, Tensor], library: Path) -> None:
        self.manifest = manifest
        self._source = source
        self._tensors = {name: aligned_copy(tensor) for name, tensor in tensors.items()}
        self._library_path = library
        self._structure = OutputStructure.from_json(manifest.structure)
        library_code = load_library(library)
        shapes = {value.name: value.shape for value in manifest.values}
        first = manifest.inputs[0]
        self._first_input = (first.shape[1:], getattr(torch, first.dtype))
        self._runners = tuple(
            SegmentRunner(stage, library_code, self._tensors, shapes)
            if isinstance(stage, SegmentStage)
            else ForeignRunner(stage, self._tensors, shapes)
            for stage in manifest.stages
        )

    def __call__(self, *inputs: Tensor) -> Any:
        """Run the network on a batch; returns what the network returns."""
        return self._structure.build(self._run(inputs))

    def profile(self, *inputs: Tensor, repeats: int = 31) -> tuple[LayerTime, ...]:
        """Median seconds per sample of every step, in the order in which they run."""
        runs: list[list[float]] = []
        for _ in range(repeats + 2):
            seconds: list[float] = []
            self._run(inputs, seconds)
            runs.append(seconds)
        samples = len(inputs[0])
        medians = [statistics.median(column) / samples for column in zip(*runs[2:], strict=True)]
        return tuple(
            LayerTime(*record, second) for record, second in zip(self._step_records(), medians, strict=True)
        )

    @cached_property
    def cost(self) -> Cost:
        """Latency of one sample, measured here on random inputs at one thread, and the packed weights' bytes."""
        inputs = [_random_input(record) for record in self.manifest.inputs]
        times = []
        for _ in range(COST_ROUNDS + 2):
            start = time.perf_counter()
            self(*inputs)
            times.append(time.perf_counter() - start)
        by_layer = tuple(
            (row.layer or row.operation, row.seconds) for row in self.profile(*inputs, repeats=COST_ROUNDS)
        )
        return Cost(
            kind="measured",
            source=f"this CPU ({self.manifest.isa}, {self.manifest.compiler}), one thread",
            latency_seconds=statistics.median(times[2:]),
            weight_bytes=self.manifest.weight_bytes,
            by_layer=by_layer,
        )

    @property
    def fallen_out(self) -> tuple[ForeignStage, ...]:
        """The operators that run through PyTorch, each with its layer and reason."""
        return tuple(stage for stage in self.manifest.stages if isinstance(stage, ForeignStage))

    def save(self, folder: Path | str) -> None:
        """Write manifest, C source, weights and library to a folder, which must be new, empty or a deployment.

        The folder appears whole or not at all. Raises SpokeshaveError when it holds something else or cannot
        be written.
        """
        folder = Path(folder)
        check_output_folder(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
                whole = Path(temporary) / "deployment"
                whole.mkdir()
                self._write(whole)
                _replace_folder(whole, folder, Path(temporary) / "old")
        except OSError as error:
            reason = error.strerror or str(error)
            raise SpokeshaveError(
                f"could not save the deployment to {folder}: {reason}; nothing was written"
            ) from error

    def _write(self, folder: Path) -> None:
        (folder / SOURCE).write_text(self._source)
        shutil.copyfile(self._library_path, folder / LIBRARY)
        save_file({name: tensor.contiguous() for name, tensor in self._tensors.items()}, folder / WEIGHTS)
        write_manifest(self.manifest, folder)

    def _step_records(self) -> list[tuple[str, str, str]]:
        records = []
        for stage in self.manifest.stages:
            if isinstance(stage, SegmentStage):
                records += [(step.layer, step.operation, step.kernel) for step in stage.steps]
            else:
                records.append((stage.layer, stage.target, "PyTorch"))
        return records

    def _run(self, inputs: tuple[Any, ...], seconds: list[float] | None = None) -> list[Tensor]:
        if not self._takes(inputs):
            check_inputs(inputs, self.manifest.inputs)
        samples = inputs[0].shape[0]
        values: Values = {
            record.name: tensor for record, tensor in zip(self.manifest.inputs, inputs, strict=True)
        }
        for runner in self._runners:
            runner.run(values, samples, seconds)
        return [values[name] if name in values else self._tensors[name] for name in self.manifest.outputs]

    def _takes(self, inputs: tuple[Any, ...]) -> bool:
        """Whether inputs are plainly right; where not, `check_inputs` says why, or finds them right after all."""
        return len(inputs) == 1 and _fits(inputs[0], *self._first_input)


def _fits(tensor: Any, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    return (
        isinstance(tensor, Tensor) and tensor.shape[1:] == shape and tensor.dtype is dtype and tensor.is_cpu
    )


def check_inputs(inputs: tuple[Any, ...], expected: tuple[ValueRecord, ...]) -> int:
    """Number of samples in a batch; raises SpokeshaveError where an input is not what the network takes."""
    if len(inputs) != len(expected):
        raise SpokeshaveError(f"the network takes {len(expected)} inputs, {len(inputs)} were given")
    for position, (tensor, record) in enumerate(zip(inputs, expected, strict=True)):
        _check_input(position, tensor, record)
    counts = {len(tensor) for tensor in inputs}
    if len(counts) > 1:
        raise SpokeshaveError(f"the inputs hold different numbers of samples: {sorted(counts)}")
    return counts.pop()


def _check_input(position: int, tensor: Any, record: ValueRecord) -> None:
    where = f"input {position}"
    if not isinstance(tensor, Tensor):
        raise SpokeshaveError(f"{where} must be a torch.Tensor, not {type(tensor).__name__}")
    wanted = ("any number of samples", *record.shape[1:])
    if tuple(tensor.shape[1:]) != record.shape[1:] or tensor.ndim == 0:
        raise SpokeshaveError(
            f"{where} has shape {tuple(tensor.shape)}, the network takes ({', '.join(map(str, wanted))})"
        )
    if str(tensor.dtype).removeprefix("torch.") != record.dtype:
        raise SpokeshaveError(f"{where} is {tensor.dtype}, the network takes torch.{record.dtype}")
    if tensor.device.type != "cpu":
        raise SpokeshaveError(f"{where} is on {tensor.device}, a native deployment takes tensors on the CPU")


def check_output_folder(folder: Path) -> None:
    """Raise SpokeshaveError unless `folder` is new, empty, or holds a deployment that may be replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SpokeshaveError(f"{folder} is a file; name a folder for the deployment")
    if any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise SpokeshaveError(f"{folder} holds something else than a deployment; name a new or empty folder")


def load_deployment(folder: Path | str) -> NativeDeployment:
    """Load a saved deployment, after its manifest, sizes, digests and instruction set have been checked.

    Raises SpokeshaveError when the folder is no deployment, is damaged, or was built for another kind of CPU.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    here = (platform.machine(), platform.system())
    if manifest.isa not in instruction_sets() or (manifest.machine, manifest.system) != here:
        built_for = f"{manifest.system} on {manifest.machine}"
        raise SpokeshaveError(
            f"{folder} was built for {built_for}; compile the network again on this machine"
        )
    if not runs_here(instruction_set(manifest.isa)):
        raise SpokeshaveError(
            f"{folder} was built for {manifest.isa}, which this CPU lacks; compile it again with a lower --isa"
        )
    library = (folder / LIBRARY).resolve()
    return NativeDeployment(manifest, (folder / SOURCE).read_text(), load_file(folder / WEIGHTS), library)


def _replace_folder(new: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    new.rename(target)


def _random_input(record: ValueRecord) -> Tensor:
    if record.dtype.startswith("float"):
        return torch.randn(record.shape, dtype=getattr(torch, record.dtype))
    return torch.from_numpy(np.zeros(prod(record.shape), record.dtype)).view(record.shape)
