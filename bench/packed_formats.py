"""Time of one layer under every scheme, and what reordering rows and subset kernels change; interleaved, one thread.

    python -m bench.packed_formats [--isa NAME] [--output FILE]

Weights are random with rows and columns of log-normal strength (sigma 0.5), as trained weights have them. Each row has
the median microseconds and the gain over the dense layer of the same run.
"""

import argparse
import ctypes
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.records import provenance, write
from spokeshave.compiler.build import build_library, load_library
from spokeshave.compiler.emit.arena import plan_arena
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import InstructionSet, instruction_set
from spokeshave.compiler.operations import Activation, Convolution
from spokeshave.compiler.schedule import Product, Schedule, forms
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.ranking import density
from spokeshave.schemes.scheme import Packed, Scheme
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import BlockPunched, Blocks

ROUNDS = 41
Key = TypeVar("Key")
LAYERS = {
    "3x3, 64 channels, 28 x 28": ((64, 64, 3, 3), 28),
    "3x3, 256 channels, 14 x 14": ((256, 256, 3, 3), 14),
    "1x1, 1024 to 256 channels, 14 x 14": ((256, 1024, 1, 1), 14),
}
SCHEMES: dict[str, Scheme | None] = {
    "dense": None,
    "block column-row, 8 rows": BlockColumnRow(0.875, (8, 64)),
    "block column-row, rows halved": BlockColumnRow(0.875, (16, 128), 0.5),
    "block column-row, rows halved in each": BlockColumnRow(0.875, (16, 128), 0.5, "block"),
    "block-structured (BSP)": BlockStructured(0.875, (64, 64), 0.25),
    "compressed blocks (CSB) 16 x 64": CompressedBlocks(0.875, (16, 64)),
    "compressed blocks (CSB) 32 x 32": CompressedBlocks(0.875, (32, 32)),
    "whole blocks 16 x 16": Blocks(0.875, (16, 16)),
    "block-punched 8 x 4": BlockPunched(0.875, (8, 4)),
    "patterns, filters alone": Patterns(0.72, "clicktrain_8"),
    "patterns, 4 filters share": Patterns(0.72, "clicktrain_8", 4),
    "patterns, 8 filters share": Patterns(0.72, "clicktrain_8", 8),
    "2:4": NOfM(2, 4),
    "1:8 along columns (BMWM)": NOfM(1, 8, "columns"),
    "density-adaptive blocks (DARB)": DensityAdaptiveBlocks(0.875),
    "unstructured": Unstructured(0.875),
}  # fmt: skip


def trained_like(shape: tuple[int, ...]) -> Tensor:
    """Random weights whose rows and columns differ in strength."""
    rows = torch.randn(shape[0]).mul(0.5).exp().view(-1, *[1] * (len(shape) - 1))
    return torch.randn(shape) * rows * torch.randn(shape[1:]).mul(0.5).exp()


def in_rounds(runs: Mapping[Key, Callable[[], float]], rounds: int) -> dict[Key, list[float]]:
    """Seconds of every run in each of the rounds, side by side, each behind one that is not counted."""
    times: dict[Key, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            run()
            times[key].append(run())
    return times


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows below each other."""
    for row in rows:
        cells = (f"{value!s:>8}" if key != "scheme" else f"{value:34}" for key, value in row.items())
        print("  " + "  ".join(cells))


def layer_graph(weight: Tensor, size: int) -> Graph:
    """One convolution with ReLU that keeps the size of the map."""
    rows, channels, kernel, _ = weight.shape
    node = Node(
        "layer",
        Convolution("w", None, padding=(kernel // 2,) * 4, activation=Activation("relu")),
        ("x",),
        ("y",),
    )
    values = {"x": Value("x", (1, channels, size, size)), "y": Value("y", (1, rows, size, size))}
    return Graph(("x",), ("y",), values, (node,), {"w": weight})


WAYS: dict[str, Callable[[Schedule], bool]] = {
    "panels": lambda form: not form.reordered and not form.by_subsets,
    "reordered": lambda form: not form.by_subsets,
    "subsets": lambda form: form.by_subsets,
    "chosen": lambda form: True,
}


def chosen(product: Product, isa: InstructionSet, way: str) -> Schedule:
    """The best estimate among the schedules that a way allows."""
    return min(filter(WAYS[way], forms(product, isa)), key=product.cycles)


def timer(
    graph: Graph, isa: InstructionSet, packed: Packed | None, way: str
) -> tuple[str, Callable[[], float]]:
    """What the layer's kernel is called, and a function that runs it once and returns its seconds."""
    choose = partial(chosen, isa=isa, way=way)
    program = lower(graph, isa, {} if packed is None else {"w": packed}, choose)
    arena = plan_arena(program)
    library = load_library(build_library(emit_source([program], [arena], isa), isa))
    memory, y = torch.zeros(arena.floats), torch.empty(graph.shape("y"))
    groups = (
        [torch.from_numpy(array) for array in program.constants.values()],
        [torch.randn(graph.shape("x"))],
        [y],
    )
    pointers = [(ctypes.c_void_p * len(group))(*(t.data_ptr() for t in group)) for group in groups]

    def run(kept_alive: object = (groups, memory, library)) -> float:
        seconds = (ctypes.c_double * len(program.steps))()
        library.segment_0(
            pointers[0], ctypes.c_void_p(memory.data_ptr()), *pointers[1:], ctypes.c_long(1), seconds, 1
        )
        return seconds[1]

    schedule = next(call.schedule for step in program.steps for call in step.calls if call.schedule)
    return (
        f"{program.kernels[0].name}{' by blocks' * schedule.by_blocks}{' reordered' * schedule.reordered}",
        run,
    )


def measure(shape: tuple[int, ...], size: int, isa: InstructionSet) -> list[dict]:
    """All schemes on one layer, in interleaved rounds."""
    runs: dict[tuple[str, str], tuple[str, Callable[[], float]]] = {}
    densities = {}
    weight = trained_like(shape)
    for name, scheme in SCHEMES.items():
        if scheme is not None and scheme.supports(shape):
            continue
        kept = weight if scheme is None else scheme.project(weight)
        densities[name] = density(kept)
        for way in ("panels",) if scheme is None else WAYS:
            graph = layer_graph(kept, size)
            packed = None if scheme is None else scheme.pack(kept)
            runs[name, way] = timer(graph, isa, packed, way)
    times = in_rounds({key: run for key, (_, run) in runs.items()}, ROUNDS)
    dense = statistics.median(times["dense", "panels"])
    return [
        {
            "scheme": name,
            "way": way,
            "kernel": runs[name, way][0],
            "density": round(densities[name], 4),
            "microseconds": round(statistics.median(seconds) * 1e6, 1),
            "gain": round(dense / statistics.median(seconds), 2),
        }
        for (name, way), seconds in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", help="instruction set; the best one of this CPU by default")
    parser.add_argument("--output", type=Path, help="file for the JSON document")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    isa = instruction_set(arguments.isa)
    origin, layers = provenance(1), {}
    for layer, (shape, size) in LAYERS.items():
        layers[layer] = measure(shape, size, isa)
        print(layer)
        show(layers[layer])
    document = {
        **origin,
        "isa": isa.name,
        "layers": layers,
    }
    if arguments.output:
        write(arguments.output, document)


if __name__ == "__main__":
    main()
