"""What a deployment costs besides its kernels: compile time, size, memory, a call -> bench/results/costs.json.

    python -m bench.costs
    python -m bench.costs resnet50 --compression 1 10

The information content of the weights is what kept values take, and for every group of rows that share their columns
the numbers of these in as few bits as suffice. Memory is that of a process that loads the saved deployment and calls
it, after another one (so that what Python and PyTorch load once does not count): the most that it ever has resident,
less what it had resident before, when it already had the inputs, and less the outputs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, log2
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.catalogue import CASES, Case, make
from bench.own import plan_for, pruned
from bench.records import RESULTS, join, provenance
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.compiler.emit.arena import largest_live_set
from spokeshave.compiler.emit.lower import lower, supports
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.isa import best_here
from spokeshave.compiler.layout import FLOAT_BYTES
from spokeshave.compiler.manifest import WEIGHTS
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.schedule import Product
from spokeshave.compiler.segments import cut
from spokeshave.export import export_network
from spokeshave.plan import Plan

DRAWN = ("resnet50", "vgg16", "mobilenet_v2", "deit_small", "gru_2x1024")
CALLS, ROUNDS = 200, 60
GIVES_BACK = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}
"""Outputs that are freed go back to the system: how many of them a heap keeps is not the deployment's doing."""
ANY_LENGTH: dict[str | int, int] = {0: 1}
RESIDENT = """
import sys, torch
from torch.utils._pytree import tree_leaves
from spokeshave.compiler import load_deployment
torch.set_num_threads(1)
def resident(kind):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(kind)).split()[1])
def use(folder, inputs):
    deployment = load_deployment(f"{folder}/saved")
    for _ in range(3):
        outputs = sum(output.nbytes for output in tree_leaves(deployment(*inputs)))
    return deployment, outputs
another, inputs = (torch.load(f"{folder}/inputs.pt", weights_only=True) for folder in sys.argv[1:])
loaded = use(sys.argv[1], another)
before = resident("VmRSS")
deployment, outputs = use(sys.argv[2], inputs)
print(resident("VmHWM") - before - outputs)
"""


def measure(case: Case, compression: float) -> dict[str, Any]:
    """All costs of one network at one compression."""
    network, inputs = make(case)
    plan = plan_for(network, compression, case)
    network = pruned(network, plan)
    origin = provenance(1)
    with empty_cache():
        seconds, deployment = compile_seconds(network, inputs, plan)
        packed, peak = packed_and_resident_bytes(deployment, inputs)
    graph = optimise(import_program(export_network(network, inputs)).graph)
    return {
        "network": case.name,
        "compression": compression,
        **origin,
        "seconds": seconds,
        "call_overhead_microseconds": overheads(),
        "packed_bytes": packed,
        "weight_bytes": deployment.manifest.weight_bytes,
        "information_bytes": information_bytes(graph, case.rows),
        "peak_resident_bytes": peak,
        "largest_live_set_bytes": live_bytes(graph),
    }


@contextmanager
def empty_cache() -> Iterator[None]:
    """A cache folder of its own while the block runs."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def compile_seconds(
    network: nn.Module, inputs: tuple[Tensor, ...], plan: Plan | None
) -> tuple[dict[str, float], NativeDeployment]:
    """Seconds of the export, of compiling what it gives, and of compiling that again."""
    compile_network(nn.Linear(4, 4), torch.zeros(1, 4))  # PyTorch's exporter takes its time when first used
    exported, export = timed(lambda: export_network(network, inputs))
    deployment, cold = timed(lambda: compile_network(exported, inputs, plan))
    _, again = timed(lambda: compile_network(exported, inputs, plan))
    return {"export": export, "cold": cold, "again": again}, deployment


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What some work returns, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def packed_and_resident_bytes(deployment: NativeDeployment, inputs: tuple[Tensor, ...]) -> tuple[int, int]:
    """The weights' file, and the most that loading and calling a deployment adds to a process that has used another."""
    pairs = {"another": another(), "network": (deployment, inputs)}
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / each for each in pairs]
        for folder, (each, given) in zip(folders, pairs.values(), strict=True):
            folder.mkdir()
            each.save(folder / "saved")
            torch.save(given, folder / "inputs.pt")
        command = [sys.executable, "-c", RESIDENT, *map(str, folders)]
        here = os.environ | GIVES_BACK
        resident = int(subprocess.run(command, env=here, capture_output=True, text=True, check=True).stdout)
        return (folders[1] / "saved" / WEIGHTS).stat().st_size, resident


def another() -> tuple[NativeDeployment, tuple[Tensor, ...]]:
    """A deployment that is loaded in every way that there is: on huge pages, and as numbers of a table's entries."""
    layer, steps = nn.GRU(512, 512, batch_first=True).eval(), (torch.zeros(1, 4, 512),)
    return compile_network(layer, steps), steps


def live_bytes(graph: Graph) -> int:
    """Most bytes of values that are needed at one time."""
    programs = [lower(piece, best_here(), {}) for piece in cut(graph, supports) if isinstance(piece, Graph)]
    return FLOAT_BYTES * max(largest_live_set(program) for program in programs)


def information_bytes(graph: Graph, rows: int) -> int:
    """Bytes of kept values and of the column numbers of each group of rows."""
    bits = 0
    for weight in graph.weights.values():
        kept = weight != 0
        bits += 8 * weight.element_size() * int(kept.sum())
        if weight.dim() > 1 and not bool(kept.all()):
            matrix = kept.flatten(1).numpy()
            columns = Product(matrix, 1, (), 1, 1).panel_columns(rows)
            bits += columns * ceil(log2(max(2, matrix.shape[1])))
    return bits // 8


class Pair(nn.Module):
    """Two small layers, each with an input of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 4), nn.Linear(16, 4)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.first(left) + self.second(right)


def overheads() -> dict[str, float]:
    """Microseconds of a call less its native time, for networks of two small layers."""
    layers = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    one, tokens = torch.randn(1, 16), torch.randn(1, 8, 16)
    fewer = tokens[:, :3].contiguous()
    return {
        "one input": overhead_microseconds(compile_network(layers, one), one),
        "two inputs": overhead_microseconds(compile_network(Pair().eval(), (one, one)), one, one),
        "any length": overhead_microseconds(compile_network(layers, tokens, dynamic=ANY_LENGTH), fewer),
    }


def overhead_microseconds(deployment: NativeDeployment, *inputs: Tensor) -> float:
    """A call less its native time, the least of many rounds."""
    native = sum(row.seconds for row in deployment.profile(*inputs, repeats=CALLS))
    least = min(timed(lambda: [deployment(*inputs) for _ in range(CALLS)])[1] / CALLS for _ in range(ROUNDS))
    return 1e6 * (least - native)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="*", choices=[*CASES, []], help=f"otherwise {', '.join(DRAWN)}")
    parser.add_argument("--compression", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--output", type=Path, default=RESULTS / "costs.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.network or DRAWN:
        for compression in arguments.compression:
            print(f"{name}, {compression:g}x", file=sys.stderr, flush=True)
            run = measure(CASES[name], compression)
            join(arguments.output, run, ("network", "compression"))
            print(json.dumps(run["seconds"]), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
