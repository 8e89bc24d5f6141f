"""Builds an artefact's example with this machine's C compiler, and runs it."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from spokeshave.compiler.artifact import why_not_checked
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.isa import instruction_set

STRICT = ("-Wall", "-Wextra", "-Werror")


def skip_unless_runnable(name: str) -> None:
    """Skip the test where an instruction set's plain C cannot be built and run, with the reason."""
    reason = why_not_checked(instruction_set(name))
    if reason is not None:
        pytest.skip(reason)


def build(folder: Path, *flags: str, sources: tuple[str, ...] = ("main.c", "model.c")) -> Path:
    """Build a program in the folder as the README says; warnings are errors."""
    command = [*find_compiler().command, "-O1", *STRICT, *flags, *sources, "-o", "program", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "program"


def run(program: Path, inputs: list[Tensor], shapes: list[tuple[int, ...]]) -> list[Tensor]:
    """Run the example on files; every output has `shapes` behind its sample axis."""
    folder = program.parent
    files = [f"input{i}" for i in range(len(inputs))] + [f"output{i}" for i in range(len(shapes))]
    for file, tensor in zip(files, inputs, strict=False):
        tensor.numpy().tofile(folder / file)
    finished = subprocess.run([program, *files], cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"{len(inputs[0])} samples, ")
    return [
        torch.from_numpy(np.fromfile(folder / file, np.float32)).view(-1, *shape)
        for file, shape in zip(files[len(inputs) :], shapes, strict=True)
    ]
