"""What a deployment costs besides its kernels: compile time by stage, a call's overhead, memory, size, threads, tuning.

    python bench/deployment_costs.py resnet50 --shape 3x224x224 --compression 10 --tune

Prints one JSON document. Milliseconds are the least of many interleaved runs; sizes are bytes. The information content
of the weights is what kept values take, and for each eight rows the numbers of their columns in as few bits as suffice.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from math import ceil, log2
from pathlib import Path

import torch
from torch.export import ExportedProgram

from spokeshave.cli.example import find_example
from spokeshave.compiler import NativeDeployment, compile_network, generate
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.compile import build
from spokeshave.compiler.emit.arena import largest_live_set
from spokeshave.compiler.emit.lower import lower, supports
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.layout import FLOAT_BYTES
from spokeshave.compiler.manifest import SegmentStage
from spokeshave.compiler.operations import Convolution, Linear
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.schedule import Product
from spokeshave.compiler.segments import cut
from spokeshave.export import export_network
from spokeshave.measure import describe_machine
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan
from spokeshave.references import resolve_network

ROUNDS = 40
PANEL_ROWS = 8


def timed(work: Callable) -> tuple[object, float]:
    """What some work returns, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, round(time.perf_counter() - start, 2)


def compile_seconds(network: object, example: torch.Tensor, plan: Plan | None) -> dict[str, float]:
    """Seconds of each stage with empty caches, and of building again."""
    with tempfile.TemporaryDirectory() as cache:
        before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = cache
        exported, export = timed(lambda: export_network(network, example))
        _, front = timed(lambda: optimise(import_program(exported).graph))
        generated, all_generated = timed(lambda: generate(exported, example, plan))
        _, cold = timed(lambda: build(generated))
        _, again = timed(lambda: build(generated))
        os.environ["XDG_CACHE_HOME"] = before or str(Path.home() / ".cache")
    lowering = round(all_generated - front, 2)
    stages = {
        "export": export,
        "import_and_passes": front,
        "packing_and_emission": lowering,
        "c_compiler": cold,
    }
    return stages | {"all": round(sum(stages.values()), 2), "c_compiler_from_cache": again}


def graph_of(exported: ExportedProgram) -> Graph:
    """The optimised graph."""
    return optimise(import_program(exported).graph)


def memory(graph: Graph) -> dict[str, float]:
    """Arena and largest live set of the compiled segments together."""
    programs = [lower(p, instruction_set(None), {}) for p in cut(graph, supports) if isinstance(p, Graph)]
    return {"largest_live_set": FLOAT_BYTES * max(largest_live_set(program) for program in programs)}


def information(graph: Graph) -> int:
    """Bytes of kept values and of the column numbers of each group of rows."""
    bits = 0
    for node in graph.nodes:
        if isinstance(node.operation, Convolution | Linear):
            kept = graph.weights[node.operation.weight].flatten(1).numpy() != 0
            columns = Product(kept, 1, (), 1, 1).panel_columns(PANEL_ROWS)
            is_dense = bool(kept.all())
            bits += 32 * int(kept.sum()) + (0 if is_dense else columns * ceil(log2(max(2, kept.shape[1]))))
    return bits // 8


def milliseconds(contenders: dict[str, tuple[NativeDeployment, int]], x: torch.Tensor) -> dict[str, float]:
    """Least milliseconds of each deployment at its number of threads, all in turn."""
    least = dict.fromkeys(contenders, float("inf"))
    for _ in range(ROUNDS):
        for name, (deployment, threads) in contenders.items():
            deployment.threads = threads
            deployment(x)
            start = time.perf_counter()
            deployment(x)
            least[name] = min(least[name], 1e3 * (time.perf_counter() - start))
    return {name: round(value, 3) for name, value in least.items()}


def overhead_microseconds() -> float:
    """A call of a network of two small layers, less its native time."""
    network = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)).eval()
    x = torch.randn(1, 16)
    deployment = compile_network(network, x)
    native = sum(row.seconds for row in deployment.profile(x, repeats=200))
    least = float("inf")
    for _ in range(60):
        start = time.perf_counter()
        for _ in range(200):
            deployment(x)
        least = min(least, (time.perf_counter() - start) / 200)
    return round(1e6 * (least - native), 2)


def schedules(deployment: NativeDeployment) -> dict[str, int]:
    """How many steps use each register tile."""
    stages = [stage for stage in deployment.manifest.stages if isinstance(stage, SegmentStage)]
    chosen = [step.schedule for stage in stages for step in stage.steps if step.schedule]
    return dict(Counter(f"{schedule.rows}x{schedule.vectors}" for schedule in chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", help="built-in name, module:callable or path/to/file.py:callable")
    parser.add_argument("--shape", help="one sample's shape, such as 3x224x224")
    parser.add_argument("--compression", type=float, default=1.0)
    parser.add_argument("--tune", action="store_true", help="compare with tuned schedules as well")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = resolve_network(arguments.network)
    example = find_example(arguments.network, network, arguments.shape, None)
    plan = Plan.for_compression(network, arguments.compression) if arguments.compression > 1 else None
    if plan is not None:
        begin(OneShot(), network, plan).finish()
    deployment = compile_network(network, example, plan)
    contenders = {"1 thread": (deployment, 1), "2 threads": (deployment, 2)}
    tiles = {"estimated": schedules(deployment)}
    tuning = {}
    if arguments.tune:
        for threads in (1, 2):
            tuned, seconds = timed(
                lambda threads=threads: compile_network(network, example, plan, threads=threads, tune=True)
            )
            contenders[f"{threads} tuned"] = (tuned, threads)
            tiles[f"{threads} tuned"] = schedules(tuned)
            tuning[f"{threads}"] = seconds
    graph = graph_of(export_network(network, example))
    stages = [stage for stage in deployment.manifest.stages if isinstance(stage, SegmentStage)]
    document = {
        "network": arguments.network,
        "compression": arguments.compression,
        "machine": describe_machine().cpu,
        "compiler": find_compiler().version,
        "compile_seconds": compile_seconds(network, example, plan),
        "tuning_seconds": tuning,
        "register_tiles": tiles,
        "milliseconds": milliseconds(contenders, example[:1]),
        "call_overhead_microseconds": overhead_microseconds(),
        "arena_bytes": FLOAT_BYTES * sum(stage.arena_floats for stage in stages),
        **memory(graph),
        "packed_bytes": deployment.manifest.weight_bytes,
        "information_bytes": information(graph),
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
