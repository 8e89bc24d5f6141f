"""One network as plain C for several targets: checked everywhere, timed where a clock means something.

    python -m bench.targets digits --compression 8
    python -m bench.targets mobilenet_v2 --shape 3x224x224 --isa neon --isa wasm

Prints one JSON document with a row for each instruction set: what ran it, its largest relative difference from PyTorch,
bytes of weights and working memory, and milliseconds of a sample (the fastest of fifty runs by this CPU or wasmtime) or
instructions of a sample (under qemu, by `instruction_count.c`; never a time). A target that cannot be run says why.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.one_network import Document, Pruned, parser, run
from spokeshave.compiler import generate
from spokeshave.compiler.artifact import build_example, run_example, why_not_checked, write_artifact
from spokeshave.compiler.artifact.program import toolchains
from spokeshave.compiler.artifact.tables import contents
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.generated import Generated
from spokeshave.compiler.isa import instruction_set
from spokeshave.measure import limited_threads, relative_error
from spokeshave.workload import trace

TARGETS = ("avx512", "avx2", "portable", "neon", "wasm")
ROUNDS_OF_EXAMPLE = 5


def measure(pruned: Pruned, targets: Sequence[str]) -> Document:
    """Write each target's C, and run it."""
    inputs = tuple(tensor[:1].repeat(3, *[1] * (tensor.ndim - 1)) for tensor in pruned.example)
    with torch.inference_mode(), limited_threads(1):
        expected = pruned.network(*inputs)
        rows = [
            row(generate(pruned.network, pruned.example, pruned.plan, isa), inputs, expected)
            for isa in targets
        ]
    workload = trace(pruned.network, pruned.example)
    return {"dense_multiply_adds": sum(layer.multiply_adds for layer in workload.layers), "rows": rows}


def row(generated: Generated, inputs: tuple[Tensor, ...], expected: object) -> Document:
    """One target's figures, or why there are none."""
    isa = instruction_set(generated.manifest.isa)
    reason = why_not_checked(isa)
    if reason is not None:
        return {"isa": isa.name, "not_run": reason}
    with tempfile.TemporaryDirectory() as name:
        write_artifact(generated, name)
        program = build_example(Path(name))
        checked = run_example(program, isa, inputs, contents(generated).outputs)
        if checked.timed:
            one = tuple(tensor[:1] for tensor in inputs)
            runs = [run_example(program, isa, one, contents(generated).outputs) for _ in range(10)]
            speed = {"milliseconds": min(each.milliseconds for each in runs)}
        else:
            speed = {"instructions": instructions(program, inputs, toolchains()[isa.machine].emulator)}
    return {
        "isa": isa.name,
        "runner": checked.runner,
        "max_relative_error": relative_error(checked.outputs, expected),
        "weight_bytes": generated.manifest.weight_bytes,
        "working_bytes": contents(generated).arena_bytes,
        **speed,
    }


def instructions(program: Path, inputs: tuple[Tensor, ...], emulator: str) -> int:
    """Guest instructions of one sample: what the example takes more for three samples than for one."""
    source, plugin = Path(__file__).with_name("instruction_count.c"), program.with_name("count.so")
    command = [*find_compiler().command, "-O1", "-shared", "-fPIC", str(source), "-o", str(plugin)]
    subprocess.run(command, check=True)
    few, many = (_count(emulator, plugin, program, inputs, samples) for samples in (1, 3))
    return round((many - few) / 2 / ROUNDS_OF_EXAMPLE)


def _count(emulator: str, plugin: Path, program: Path, inputs: tuple[Tensor, ...], samples: int) -> int:
    files = [f"input{i}" for i in range(len(inputs))]
    for file, tensor in zip(files, inputs, strict=True):
        tensor[:samples].contiguous().numpy().tofile(program.parent / file)
    outputs = re.search(r"_OUTPUTS = (\d+)", (program.parent / "model.h").read_text())
    files += [f"output{i}" for i in range(int(outputs[1]) if outputs else 0)]
    command = [emulator, "-plugin", str(plugin), str(program), *files]
    finished = subprocess.run(command, cwd=program.parent, capture_output=True, text=True, check=True)
    return int(finished.stderr.rpartition("instructions: ")[2])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--isa", action="append", help=f"a target; all of {', '.join(TARGETS)} otherwise")
    arguments = options.parse_args()
    run(arguments, partial(measure, targets=arguments.isa or TARGETS))


if __name__ == "__main__":
    main()
