"""Rates of the panel and vector kernels by rows per panel, density and map: what the packing's cost model is fitted to.

    python bench/kernel_rates.py [--isa NAME] [--output FILE]

Prints one JSON document: for each case the median microseconds of one layer, GFLOP/s of the kept weights and GFLOP/s
counting the dense work.
"""

import argparse
import ctypes
import json
import statistics
import time
from pathlib import Path

import torch

from spokeshave.compiler.build import build_library, find_compiler, load_library
from spokeshave.compiler.emit.arena import plan_arena
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import InstructionSet, instruction_set
from spokeshave.compiler.operations import Activation, Convolution

CASES = [(64, 32), (64, 56), (128, 16), (128, 28), (256, 8), (256, 14), (512, 7)]
DENSITIES = [1.0, 0.25, 0.125, 0.0625]
ROUNDS = 15


def layer_graph(channels: int, size: int, density: float, shared_rows: int) -> Graph:
    """One 3x3 convolution whose rows share their kept columns in groups of `shared_rows`."""
    kept = torch.rand(channels // shared_rows, channels * 9) < density
    mask = kept.repeat_interleave(shared_rows, 0).reshape(channels, channels, 3, 3)
    weights = {"w": torch.randn(channels, channels, 3, 3) * mask}
    shape = (1, channels, size, size)
    node = Node(
        "layer", Convolution("w", None, padding=(1, 1, 1, 1), activation=Activation("relu")), ("x",), ("y",)
    )
    return Graph(("x",), ("y",), {"x": Value("x", shape), "y": Value("y", shape)}, (node,), weights)


def kernel_seconds(graph: Graph, isa: InstructionSet) -> tuple[str, float]:
    """Name of the kernel that the packing chose, and its median seconds by the program's own step clock."""
    program = lower(graph, isa, {})
    arena = plan_arena(program)
    library = load_library(build_library(emit_source([program], [arena], isa), isa))
    memory = torch.zeros(arena.floats)
    constants = [torch.from_numpy(array) for array in program.constants.values()]
    x = torch.randn(graph.shape("x"))
    y = torch.empty(graph.shape("y"))
    pointers = [
        (ctypes.c_void_p * len(group))(*(t.data_ptr() for t in group)) for group in (constants, [x], [y])
    ]
    times = []
    for _ in range(ROUNDS + 3):
        seconds = (ctypes.c_double * len(program.steps))()
        library.segment_0(
            pointers[0], ctypes.c_void_p(memory.data_ptr()), *pointers[1:], ctypes.c_long(1), seconds, 1
        )
        times.append(seconds[1])
    return program.kernels[0].name, statistics.median(times[3:])


def measure(isa: InstructionSet) -> list[dict]:
    """All cases, one after the other."""
    rows = []
    for channels, size in CASES:
        for density in DENSITIES:
            for shared_rows in (8, 4, 1):
                graph = layer_graph(channels, size, density, shared_rows)
                start = time.perf_counter()
                kernel, seconds = kernel_seconds(graph, isa)
                dense = 2 * 9 * channels**2 * size**2
                rows.append(
                    {
                        "channels": channels,
                        "size": size,
                        "density": density,
                        "shared_rows": shared_rows,
                        "kernel": kernel,
                        "microseconds": round(seconds * 1e6, 1),
                        "kept_gflops": round(dense * density / seconds / 1e9, 1),
                        "dense_gflops": round(dense / seconds / 1e9, 1),
                        "compile_seconds": round(time.perf_counter() - start, 2),
                    }
                )
                print(rows[-1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", help="instruction set; the best one of this CPU by default")
    parser.add_argument("--output", type=Path, help="file for the JSON document")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    isa = instruction_set(arguments.isa)
    document = {"isa": isa.name, "compiler": find_compiler().version, "threads": 1, "rows": measure(isa)}
    text = json.dumps(document, indent=1)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
