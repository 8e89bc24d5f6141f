"""Builds the example of an artefact for the CPU it is for, and runs it here: directly, emulated, or as WebAssembly."""

import importlib.util
import json
import platform
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spokeshave.compiler.artifact.tables import contents
from spokeshave.compiler.artifact.wasm import run_wasm
from spokeshave.compiler.artifact.write import RECORD, write_artifact
from spokeshave.compiler.build import Compiler, find_compiler, zig_compiler
from spokeshave.compiler.dynamic import at_lengths, lengths_given
from spokeshave.compiler.generated import Generated
from spokeshave.compiler.isa import InstructionSet, instruction_set, why_not_here
from spokeshave.compiler.manifest import ValueRecord
from spokeshave.errors import SpokeshaveError

FLAGS = ("-O3", "-ffp-contract=fast", "-Wall", "-Wextra")


@dataclass(frozen=True)
class Toolchain:
    """One entry of `toolchains.toml`."""

    compiler: str
    zig: str
    emulator: str
    install: str


@dataclass(frozen=True)
class Run:
    """What the example gave, the milliseconds of a sample that it printed, and what ran it."""

    outputs: tuple[Tensor, ...]
    milliseconds: float
    runner: str  # "this CPU", "wasmtime" or an emulator
    timed: bool  # whether the time means anything: an emulator's does not


@cache
def toolchains() -> dict[str, Toolchain]:
    """By machine: how programs for it are built and run on another."""
    text = resources.files("spokeshave.compiler.artifact").joinpath("toolchains.toml").read_text()
    return {machine: Toolchain(**entry) for machine, entry in tomllib.loads(text).items()}


def why_not_checked(isa: InstructionSet) -> str | None:
    """None when an artefact's example can be built and run on this machine, else the reason why not."""
    if isa.machine in ("", platform.machine()):
        return why_not_here(isa)
    chain = toolchains().get(isa.machine)
    if chain is None:
        return f"nothing is known that runs {isa.machine} code on this machine"
    if cross_compiler(isa) is None:
        return f"there is no compiler for {isa.machine}: {chain.install}"
    if chain.emulator and shutil.which(chain.emulator) is None:
        return f"there is no {chain.emulator}: {chain.install}"
    if not chain.emulator and importlib.util.find_spec("wasmtime") is None:
        return f"wasmtime is not installed: {chain.install}"
    return None


def cross_compiler(isa: InstructionSet) -> Compiler | None:
    """The compiler for another machine: a cross compiler on the path, else zig's clang; None when there is neither."""
    chain = toolchains()[isa.machine]
    found = shutil.which(chain.compiler) if chain.compiler else None
    if found is not None:
        return Compiler((found, "-static"), chain.compiler)
    zig = zig_compiler()
    return Compiler((*zig.command, "-target", chain.zig), zig.version, zig=True) if zig else None


def run_as_c(generated: Generated, inputs: Sequence[Tensor], flags: Sequence[str] = FLAGS) -> Run:
    """Write a network as plain C, build the example and run it on inputs, in a folder that is removed again.

    Raises SpokeshaveError when this machine cannot build or run it.
    """
    with tempfile.TemporaryDirectory() as name:
        write_artifact(generated, name)
        program = build_example(Path(name), flags)
        manifest, outputs = generated.manifest, contents(generated).outputs
        names = [record.name for record in manifest.inputs]
        lengths = lengths_given(names, inputs, manifest.dynamic, manifest.capacity)
        outputs = tuple(
            replace(record, shape=(1, *at_lengths(record.name, record.shape[1:], manifest.dynamic, lengths)))
            for record in outputs
        )
        return run_example(program, instruction_set(manifest.isa), inputs, outputs, lengths)


def build_example(folder: Path, flags: Sequence[str] = FLAGS) -> Path:
    """Build the example of an artefact; returns the program. Raises SpokeshaveError when it cannot be built here."""
    record = json.loads((folder / RECORD).read_text())
    isa = instruction_set(record["isa"])
    reason = why_not_checked(isa)
    if reason is not None:
        raise SpokeshaveError(f"the example of {folder} cannot be run here: {reason}")
    compiler = find_compiler() if isa.machine in ("", platform.machine()) else cross_compiler(isa)
    assert compiler is not None
    sources = ("main.c", f"{record['name']}.c")
    command = [*compiler.command, *flags, *compiler.target_flags(isa), *sources, "-o", "example", "-lm"]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SpokeshaveError(f"{compiler.version} could not build {folder}: {finished.stderr[:400]}")
    return folder / "example"


def run_example(
    program: Path,
    isa: InstructionSet,
    inputs: Sequence[Tensor],
    outputs: Sequence[ValueRecord],
    lengths: Sequence[int] = (),
) -> Run:
    """Run a built example on inputs: any number of samples, of these lengths where they may change.

    Raises SpokeshaveError when it fails.
    """
    chain = None if isa.machine in ("", platform.machine()) else toolchains()[isa.machine]
    with tempfile.TemporaryDirectory(dir=program.parent) as name:
        folder = Path(name)
        files = [f"{folder.name}/{kind}{i}" for kind, n in _counts(inputs, outputs) for i in range(n)]
        for file, tensor in zip(files, inputs, strict=False):
            tensor.contiguous().numpy().tofile(program.parent / file)
        printed = _run(program, chain, [*map(str, lengths), *files])
        results = [
            _read(program.parent / file, record)
            for file, record in zip(files[len(inputs) :], outputs, strict=True)
        ]
    runner = "this CPU" if chain is None else chain.emulator or "wasmtime"
    milliseconds = float(printed.split(",")[1].split()[0])
    return Run(tuple(results), milliseconds, runner, timed=chain is None or not chain.emulator)


def _counts(inputs: Sequence[Tensor], outputs: Sequence[ValueRecord]) -> tuple[tuple[str, int], ...]:
    return (("input", len(inputs)), ("output", len(outputs)))


def _run(program: Path, chain: Toolchain | None, arguments: list[str]) -> str:
    """What the program printed."""
    if chain is not None and not chain.emulator:
        code, printed, complaint = run_wasm(program, arguments)
    else:
        command = [*([chain.emulator] if chain else []), str(program.resolve()), *arguments]
        finished = subprocess.run(command, cwd=program.parent, capture_output=True, text=True, check=False)
        code, printed, complaint = finished.returncode, finished.stdout, finished.stderr
    if code:
        raise SpokeshaveError(f"{program} ended with {code}: {complaint.strip() or 'it said nothing'}")
    return printed


def _read(path: Path, record: ValueRecord) -> Tensor:
    return torch.from_numpy(np.fromfile(path, record.dtype)).view(-1, *record.shape[1:])
