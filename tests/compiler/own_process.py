"""The generated C in a process of its own, on memory of exact sizes."""

import struct
import subprocess
from pathlib import Path

import numpy as np
import torch

from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.emit.arena import plan_arena
from spokeshave.compiler.emit.program import Program
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.isa import InstructionSet

THREADS, SAMPLES = 3, 5  # three samples are shared out, two are worked on together


def run_in_own_process(
    graph: Graph,
    program: Program,
    given: torch.Tensor | list[torch.Tensor],
    isa: InstructionSet,
    flags: tuple[str, ...],
    folder: Path,
    besides: tuple[Path, ...] = (),
    lengths: tuple[int, ...] = (),
    shapes: list[tuple[int, ...]] | None = None,
) -> list[torch.Tensor]:
    """Outputs of the graph's C for `SAMPLES` samples, built with `flags` and the C files `besides`.

    Where lengths change, `lengths` are the caller's and `shapes` those of the outputs.
    """
    arena = plan_arena(program)
    (folder / "model.c").write_text(emit_source([program], [arena], isa))
    sources = (folder / "model.c", Path(__file__).with_name("sanitized_main.c"), *besides)
    compiler = find_compiler()
    command = [  # every access is checked as it is written, and building takes a seventh of what -O1 takes
        *compiler.command,
        *("-std=gnu11", "-O0", "-g", "-pthread", "-Wno-psabi"),
        *flags,
        *compiler.target_flags(isa),
        *map(str, sources),
        "-o",
        str(folder / "run"),
        "-lm",
    ]
    subprocess.run(command, check=True)

    shapes = shapes or [(SAMPLES, *graph.shape(name)[1:]) for name in graph.outputs]
    outputs = [np.empty(shape, np.float32) for shape in shapes]
    inputs = [x.contiguous().numpy() for x in ([given] if isinstance(given, torch.Tensor) else given)]
    inputs += [np.array(lengths, np.int32)] if lengths else []
    with (folder / "data").open("wb") as file:
        for group, filled in (
            (list(program.constants.values()), True),
            (inputs, True),
            (outputs, False),
        ):
            file.write(struct.pack("q", len(group)))
            for array in group:
                file.write(struct.pack("q", array.nbytes) + (array.tobytes() if filled else b""))
        file.write(struct.pack("qqq", THREADS * arena.floats, SAMPLES, THREADS))
    finished = subprocess.run([folder / "run", folder / "data"], capture_output=True, check=False)
    assert finished.returncode == 0, finished.stderr.decode()[:3000]

    raw = np.frombuffer(finished.stdout, np.float32)
    split = np.split(raw, np.cumsum([array.size for array in outputs])[:-1])
    return [torch.from_numpy(array.copy()).view(shape) for array, shape in zip(split, shapes, strict=True)]
