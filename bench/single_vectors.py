"""Time of a linear layer over one vector under every scheme; interleaved, one thread.

    python -m bench.single_vectors [--isa NAME] [--precision float32|bfloat16|int8] [--output FILE]

Weights as in bench/packed_formats.py. Each row has the median microseconds, the gain over the dense layer of the same
run, what one product reads and how fast it does, beside the bytes of the scheme's packed form (float32 values).
"""

import argparse
import ctypes
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from bench.packed_formats import in_rounds, show, trained_like
from bench.records import provenance, write
from spokeshave.compiler.build import build_library, load_library
from spokeshave.compiler.emit.arena import plan_arena
from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import InstructionSet, instruction_set
from spokeshave.compiler.operations import Linear, Quantization
from spokeshave.compiler.quantization.integers import to_integers
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.runtime import aligned
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.ranking import density
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured

ROUNDS, CALLS = 11, 50
SHAPES = {"1024 to 1024": (1024, 1024), "GRU 1024, state": (3072, 1024), "4096 to 1024": (1024, 4096)}
SCHEMES: dict[str, Scheme | None] = {
    "dense": None,
    "block column-row, 32 rows": BlockColumnRow(0.875, (32, 64)),
    "block column-row, 8 rows": BlockColumnRow(0.875, (8, 64)),
    "2:4": NOfM(2, 4),
    "1:8 along columns (BMWM)": NOfM(1, 8, "columns"),
    "banks of 64, 8 each": NOfM(8, 64, "columns"),
    "1:16 along columns": NOfM(1, 16, "columns"),
    "1:32 along columns": NOfM(1, 32, "columns"),
    "density-adaptive blocks (DARB)": DensityAdaptiveBlocks(0.875),
    "unstructured": Unstructured(0.875),
}
FOURS = {"block column-row, 32 rows, columns in fours": BlockColumnRow(0.875, (32, 64), column_group=4)}


def layer_graph(weight: Tensor, precision: str) -> Graph:
    """One layer without a bias; in integers what it reads is of the order of 1."""
    rows, columns = weight.shape
    values = {"x": Value("x", (1, columns)), "y": Value("y", (1, rows))}
    node = Node("layer", Linear("w", None), ("x",), ("y",))
    graph = Graph(("x",), ("y",), values, (node,), {"w": weight})
    if precision != "int8":
        return graph
    return to_integers(graph, frozenset("y"), {"x": Quantization(4 / 127, 128)})


def timer(weight: Tensor, isa: InstructionSet, precision: str) -> tuple[str, int, Callable[[], float]]:
    """What the layer's kernel is called, the bytes it reads, and a function that gives the seconds of one run."""
    rows, columns = weight.shape
    graph = layer_graph(weight, precision)
    program = lower(graph, isa, {})
    (kernel,) = program.kernels
    functions = [[call.function for call in step.calls] for step in program.steps]
    (index,) = (i for i, names in enumerate(functions) if kernel.name in names)
    arena = plan_arena(program)
    library = load_library(build_library(emit_source([program], [arena], isa), isa))
    memory, x, y = aligned(torch.zeros(arena.floats)), torch.randn(1, columns), torch.empty(1, rows)
    groups = ([aligned(torch.from_numpy(array)) for array in program.constants.values()], [x], [y])
    pointers = [(ctypes.c_void_p * len(group))(*(t.data_ptr() for t in group)) for group in groups]

    def run(kept_alive: object = (groups, library)) -> float:
        seconds = (ctypes.c_double * len(program.steps))()
        place = ctypes.c_void_p(memory.data_ptr())
        for _ in range(CALLS):
            library.segment_0(pointers[0], place, *pointers[1:], ctypes.c_long(1), seconds, 1)
        return seconds[index] / CALLS

    run()
    torch.testing.assert_close(y, run_reference(graph, [x])[0], rtol=1e-4, atol=1e-4 * float(y.abs().max()))
    return kernel.name, sum(constant.nbytes for constant in groups[0]), run


def measure(shape: tuple[int, int], isa: InstructionSet, precision: str) -> list[dict]:
    """All schemes on one layer, in interleaved rounds."""
    weight = trained_like(shape)
    schemes = SCHEMES | (FOURS if precision == "int8" else {})
    kept = {name: weight if scheme is None else scheme.project(weight) for name, scheme in schemes.items()}
    rounded = {name: w.bfloat16().float() if precision == "bfloat16" else w for name, w in kept.items()}
    runs = {name: timer(w, isa, precision) for name, w in rounded.items()}
    times = in_rounds({name: run for name, (_, _, run) in runs.items()}, ROUNDS)
    dense = statistics.median(times["dense"])
    return [
        {
            "scheme": name,
            "kernel": kernel,
            "density": round(density(kept[name]), 4),
            "microseconds": round(statistics.median(times[name]) * 1e6, 2),
            "gain": round(dense / statistics.median(times[name]), 2),
            "kilobytes": round(size / 1e3, 1),
            "packed_kilobytes": round((scheme.pack(kept[name]).nbytes if scheme else weight.nbytes) / 1e3, 1),
            "gigabytes_per_second": round(size / statistics.median(times[name]) / 1e9, 1),
        }
        for (name, scheme), (kernel, size, _) in zip(schemes.items(), runs.values(), strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", help="instruction set; the best one of this CPU by default")
    parser.add_argument("--precision", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument("--output", type=Path, help="file for the JSON document")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    isa = instruction_set(arguments.isa)
    origin, layers = provenance(1), {}
    for layer, shape in SHAPES.items():
        layers[layer] = measure(shape, isa, arguments.precision)
        print(layer)
        show(layers[layer])
    document = {
        **origin,
        "isa": isa.name,
        "weights": arguments.precision,
        "layers": layers,
    }
    if arguments.output:
        write(arguments.output, document)


if __name__ == "__main__":
    main()
