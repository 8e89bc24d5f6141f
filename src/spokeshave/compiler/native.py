"""A compiled network: native segments with PyTorch between them where an operator has no kernel."""

import platform
import statistics
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spokeshave.compiler.artifact import write_artifact
from spokeshave.compiler.build import load_library
from spokeshave.compiler.dynamic import at_lengths, extents_of, lengths_given
from spokeshave.compiler.folder import save_deployment
from spokeshave.compiler.generated import Generated
from spokeshave.compiler.importer import OutputStructure
from spokeshave.compiler.isa import instruction_set, instruction_sets, why_not_here
from spokeshave.compiler.manifest import (
    LIBRARY,
    SOURCE,
    WEIGHTS,
    ForeignStage,
    Manifest,
    SegmentStage,
    ValueRecord,
    read_manifest,
)
from spokeshave.compiler.runtime import REMEMBERED, ForeignRunner, SegmentRunner, Sizes, Values, aligned
from spokeshave.compiler.weights_file import load_aligned
from spokeshave.deployment import Cost
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import as_path
from spokeshave.nesting import flattened

_Kinds = tuple[Any, ...] | None

COST_ROUNDS = 11
MOST_THREADS = 64  # MOST_WORKERS of kernels/team.h


@dataclass(frozen=True)
class LayerTime:
    """Time of one step of a deployment for one sample, in seconds."""

    layer: str
    operation: str
    kernel: str
    seconds: float


class NativeDeployment:
    """A network compiled for a CPU; call it with the network's own inputs, any batch size, from any thread.

    Inputs may be nested as the network's are, or in any other way that has the tensors in the same order. Shapes are
    those of the network's inputs with any number of samples in front; element types must match; tensors must be on the
    CPU. Raises SpokeshaveError otherwise.
    """

    def __init__(self, generated: Generated, library: Path) -> None:
        self.manifest = manifest = generated.manifest
        self._tensors = {name: aligned(tensor) for name, tensor in generated.tensors.items()}
        self._source = zlib.compress(generated.source.encode())  # to be saved: a call does not need it
        self._threads = 1
        self._library_path = library
        self._counts: Tensor = torch.zeros(0, len(manifest.selectors))
        self._structure = OutputStructure.from_json(manifest.structure)
        library_code = load_library(library)
        shapes = {value.name: value.shape for value in manifest.values}
        self._names = tuple(value.name for value in manifest.inputs)
        self._known: dict[_Kinds, Sizes] = {}
        self._extents = tuple(extents_of(value.name, manifest.dynamic) for value in manifest.inputs)
        self._moves = any(manifest.input_axes)
        self._selects = len(manifest.selectors)
        constant = [name for name in manifest.outputs if name in self._tensors]
        made = [name for stage in manifest.stages for name in stage.outputs]
        places = {name: place for place, name in enumerate([*constant, *self._names, *made])}
        self._constant = [self._tensors[name] for name in constant]
        self._outputs = tuple(places[name] for name in manifest.outputs)
        self._runners = tuple(
            SegmentRunner(
                stage, library_code, self._tensors, shapes, places, manifest.dynamic, len(manifest.capacity)
            )
            if isinstance(stage, SegmentStage)
            else ForeignRunner(stage, self._tensors, shapes, places)
            for stage in manifest.stages
        )

    def __call__(self, *inputs: Any) -> Any:
        """Run the network on a batch; returns what the network returns."""
        sizes = self._known.get(_kinds(inputs))
        if sizes is None:
            inputs, sizes = self._sized(inputs)
        if self._moves:
            inputs = self._batch_first(inputs)
        outputs = self._run(inputs, sizes)
        if self._selects:
            first = len(outputs) - self._selects
            outputs, self._counts = outputs[:first], torch.cat(outputs[first:], 1)
        return self._structure.build(outputs)

    @property
    def token_counts(self) -> dict[str, Tensor]:
        """How many tokens each selector left of every sample of the last call, `[samples]` by its name.

        Class tokens and packages count; selectors of a fixed count are left out.
        """
        return dict(zip(self.manifest.selectors, self._counts.long().unbind(1), strict=True))

    @property
    def generated(self) -> Generated:
        """What the deployment was built from."""
        return Generated(self.manifest, zlib.decompress(self._source).decode(), self._tensors)

    @property
    def threads(self) -> int:
        """Threads that work on a call, 1 to 64; results do not depend on it.

        They are the library's own: as many samples are shared out, and what is left is worked on together, layer by
        layer. While one caller uses them, calls from other Python threads run on the caller's thread alone.
        """
        return self._threads

    @threads.setter
    def threads(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_THREADS:
            raise SpokeshaveError(f"threads must be a whole number from 1 to {MOST_THREADS}, not {count!r}")
        self._threads = count
        self.__dict__.pop("cost", None)  # measured with the old number

    def profile(self, *inputs: Any, repeats: int = 31) -> tuple[LayerTime, ...]:
        """Median seconds per sample of every step, in the order in which they run."""
        inputs, sizes = self._sized(inputs)
        inputs = self._batch_first(inputs)
        runs: list[list[float]] = []
        for _ in range(repeats + 2):
            seconds: list[float] = []
            self._run(inputs, sizes, seconds)
            runs.append(seconds)
        medians = [statistics.median(column) / sizes.samples for column in zip(*runs[2:], strict=True)]
        return tuple(
            LayerTime(*record, second) for record, second in zip(self._step_records(), medians, strict=True)
        )

    @cached_property
    def cost(self) -> Cost:
        """Latency of one sample, measured here on random inputs, and the packed weights' bytes."""
        made = [_random_input(record) for record in self.manifest.inputs]
        axes = self.manifest.input_axes or (0,) * len(made)
        inputs = [tensor.movedim(0, axis) for tensor, axis in zip(made, axes, strict=True)]
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
            source=f"this CPU ({self.manifest.isa}, {self.manifest.compiler}), {_thread_count(self.threads)}",
            latency_seconds=statistics.median(times[2:]),
            weight_bytes=self.manifest.weight_bytes,
            by_layer=by_layer,
        )

    @property
    def fallen_out(self) -> tuple[ForeignStage, ...]:
        """The operators that run through PyTorch, each with its layer and reason."""
        return self.manifest.fallen_out

    def save(self, folder: Path | str) -> None:
        """Write the deployment to a folder (see `save_deployment`)."""
        save_deployment(self.generated, self._library_path, folder)

    def export_c(self, folder: Path | str, name: str = "model", embed: bool = False) -> None:
        """Write the network as plain C for an application (see `write_artifact`)."""
        write_artifact(self.generated, folder, name, embed)

    def _step_records(self) -> list[tuple[str, str, str]]:
        records = []
        for stage in self.manifest.stages:
            if isinstance(stage, SegmentStage):
                records += [(step.layer, step.operation, step.kernel) for step in stage.steps]
            else:
                records.append((stage.layer, stage.target, "PyTorch"))
        return records

    def _run(self, inputs: tuple[Any, ...], sizes: Sizes, seconds: list[float] | None = None) -> list[Tensor]:
        values: Values = [*self._constant, *inputs]
        for runner in self._runners:
            runner.run(values, sizes, seconds, self._threads)
        return [values[place] for place in self._outputs]

    def _sized(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], Sizes]:
        """Inputs without nesting, and their sizes; raises SpokeshaveError for what the network does not take."""
        kinds = _kinds(inputs)
        if kinds is None:
            inputs, _ = flattened(inputs)
            kinds = _kinds(inputs)
        sizes = self._known.get(kinds)
        if sizes is None:
            sizes = self._checked(self._batch_first(inputs))
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[kinds] = sizes
        return inputs, sizes

    def _checked(self, inputs: tuple[Any, ...]) -> Sizes:
        """Sizes of inputs with their samples in front; raises SpokeshaveError where they are wrong."""
        manifest = self.manifest
        lengths = lengths_given(self._names, inputs, manifest.dynamic, manifest.capacity)
        return Sizes(check_inputs(inputs, self._at_lengths(lengths), manifest.input_axes), lengths)

    def _batch_first(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Inputs with their samples along axis 0; what is no such input is left for `check_inputs`."""
        axes = self.manifest.input_axes
        if len(axes) != len(inputs) or not self._moves:
            return inputs
        return tuple(
            tensor.movedim(axis, 0) if isinstance(tensor, Tensor) and tensor.dim() > axis else tensor
            for tensor, axis in zip(inputs, axes, strict=True)
        )

    def _at_lengths(self, lengths: tuple[int, ...]) -> tuple[ValueRecord, ...]:
        """The inputs as they must be at the caller's lengths."""
        return tuple(
            ValueRecord(
                record.name, (1, *at_lengths(record.name, record.shape[1:], own, lengths)), record.dtype
            )
            for record, own in zip(self.manifest.inputs, self._extents, strict=True)
        )


def _kinds(inputs: tuple[Any, ...]) -> _Kinds:
    """Everything that decides whether inputs are right, and their sizes; None where they are no tensors."""
    try:
        kinds: list[Any] = []
        for each in inputs:
            kinds += type(each), each.shape, each.dtype, each.is_cpu, each.layout
        return tuple(kinds)
    except AttributeError:
        return None


def check_inputs(
    inputs: tuple[Any, ...], expected: tuple[ValueRecord, ...], axes: tuple[int, ...] = ()
) -> int:
    """Number of samples in a batch; raises SpokeshaveError where an input is not what the network takes.

    Samples are along axis 0; `axes` are where the caller has them.
    """
    if len(inputs) != len(expected):
        raise SpokeshaveError(f"the network takes {len(expected)} inputs, {len(inputs)} were given")
    for position, (tensor, record) in enumerate(zip(inputs, expected, strict=True)):
        _check_input(position, tensor, record, axes[position] if axes else 0)
    counts = {tensor.shape[0] for tensor in inputs}
    if len(counts) > 1:
        raise SpokeshaveError(f"the inputs hold different numbers of samples: {sorted(counts)}")
    return counts.pop()


def _check_input(position: int, tensor: Any, record: ValueRecord, axis: int) -> None:
    where = f"input {position}"
    if not isinstance(tensor, Tensor):
        raise SpokeshaveError(f"{where} must be a torch.Tensor, not {type(tensor).__name__}")
    if tuple(tensor.shape[1:]) != record.shape[1:] or tensor.ndim == 0:
        wanted = [*record.shape[1 : axis + 1], "any number of samples", *record.shape[axis + 1 :]]
        given = tensor.movedim(0, axis) if tensor.ndim > axis else tensor
        raise SpokeshaveError(
            f"{where} has shape {tuple(given.shape)}, the network takes ({', '.join(map(str, wanted))})"
        )
    if str(tensor.dtype).removeprefix("torch.") != record.dtype:
        raise SpokeshaveError(f"{where} is {tensor.dtype}, the network takes torch.{record.dtype}")
    if tensor.device.type != "cpu":
        raise SpokeshaveError(f"{where} is on {tensor.device}, a native deployment takes tensors on the CPU")
    if tensor.layout != torch.strided:
        raise SpokeshaveError(f"{where} is sparse, a native deployment takes dense tensors; call .to_dense()")


def load_deployment(folder: Path | str) -> NativeDeployment:
    """Load a saved deployment: its code runs after manifest, sizes, digests and instruction set have been checked.

    Raises SpokeshaveError when the folder is no deployment, is damaged, or was built for another kind of CPU.
    """
    folder = as_path("a deployment's folder", folder)
    return NativeDeployment(read_generated(folder), (folder / LIBRARY).resolve())


def read_generated(folder: Path) -> Generated:
    """What a saved deployment's library was built from, checked as `load_deployment` says."""
    with ThreadPoolExecutor(1) as pool:  # to check large weights takes as long as to read them: both at once
        tensors = pool.submit(load_aligned, folder / WEIGHTS)
        manifest = read_manifest(folder)
        _check_runs_here(manifest, folder)
        return Generated(manifest, (folder / SOURCE).read_text(), tensors.result())


def _check_runs_here(manifest: Manifest, folder: Path) -> None:
    here = (platform.machine(), platform.system())
    if manifest.isa not in instruction_sets() or (manifest.machine, manifest.system) != here:
        built_for = f"{manifest.isa}, {manifest.system} on {manifest.machine}"
        raise SpokeshaveError(
            f"{folder} was built for {built_for}; compile the network again on this machine"
        )
    reason = why_not_here(instruction_set(manifest.isa))
    if reason is not None:
        raise SpokeshaveError(
            f"{folder} was built for {manifest.isa}: {reason}; compile it again with a lower --isa"
        )


def _thread_count(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"


def _random_input(record: ValueRecord) -> Tensor:
    if record.dtype.startswith("float"):
        return torch.randn(record.shape, dtype=getattr(torch, record.dtype))
    return torch.from_numpy(np.zeros(prod(record.shape), record.dtype)).view(record.shape)
