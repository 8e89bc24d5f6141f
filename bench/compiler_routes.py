"""The same generated C built by every C compiler of this machine, timed in one interleaved run.

    python bench/compiler_routes.py digits --compression 8
    CC=/usr/bin/clang-19 python bench/compiler_routes.py digits --isa avx2

Compilers are clang and gcc from the path, zig's clang from the `ziglang` wheel, and what CC names. Prints one JSON
document: for each compiler the seconds of one sample with quartiles, the ratio to the fastest, and the build's seconds.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch

from spokeshave.cli.example import find_example
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.compiler.build import Compiler, available_compilers, find_compiler
from spokeshave.errors import SpokeshaveError
from spokeshave.measure import describe_machine, interleave, limited_threads, relative_error
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan
from spokeshave.references import resolve_network


def measure(arguments: argparse.Namespace) -> dict:
    """Build with each compiler, check, and time all builds against each other."""
    torch.manual_seed(0)
    network = resolve_network(arguments.network)
    example = find_example(arguments.network, network, arguments.shape, None)
    plan = Plan.for_compression(network, arguments.compression) if arguments.compression > 1 else None
    if plan is not None:
        begin(OneShot(), network, plan).finish()
    with torch.inference_mode():
        expected = network.eval()(*example)
    builds = {
        label(compiler): build(network, example, plan, arguments.isa, compiler) for compiler in compilers()
    }
    contenders = {name: partial(deployment, *example) for name, (deployment, _) in builds.items()}
    with limited_threads(1):
        run = interleave(contenders, rounds=arguments.rounds)
    fastest = run.timings[0].name
    rows = [
        {
            **asdict(timing),
            "ratio_to_fastest": run.ratio(timing.name, fastest).median,
            "build_seconds": builds[timing.name][1],
            "max_relative_error": relative_error(contenders[timing.name](), expected),
        }
        for timing in run.timings
    ]
    isa = builds[fastest][0].manifest.isa
    settings = {"network": arguments.network, "compression": arguments.compression, "isa": isa}
    return {**settings, "rows": rows, "machine": asdict(describe_machine())}


def compilers() -> list[Compiler]:
    """What is installed, and the one that CC names."""
    return list(dict.fromkeys([*available_compilers(), find_compiler()]))


def label(compiler: Compiler) -> str:
    """A compiler's name in the table: zig's own version line says clang only."""
    return f"zig: {compiler.version}" if compiler.zig else compiler.version


def build(
    network: torch.nn.Module, example: tuple, plan: Plan | None, isa: str | None, compiler: Compiler
) -> tuple[NativeDeployment, float]:
    """A deployment, and the build's seconds: how much longer it took than again, from the cache.

    A small build before both lets zig set up its own files, which it does once on a machine.
    """
    seconds = []
    compile_network(torch.nn.Sequential(torch.nn.Linear(8, 8)), (torch.zeros(1, 8),), None, isa, compiler)
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, XDG_CACHE_HOME=folder):
        for _ in range(2):
            start = time.perf_counter()
            deployment = compile_network(network, example, plan, isa, compiler)
            seconds.append(time.perf_counter() - start)
    return deployment, seconds[0] - seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", help="a built-in name, module:callable or path/to/file.py:callable")
    parser.add_argument(
        "--shape", help="shape of one sample, such as 3x224x224; built-in networks know theirs"
    )
    parser.add_argument(
        "--compression", type=float, default=8, help="times fewer weights; 1 leaves it dense (8)"
    )
    parser.add_argument("--isa", help="instruction set; the best one of this CPU by default")
    parser.add_argument("--rounds", type=int, default=21, help="rounds of the interleaved run (21)")
    parser.add_argument("--output", type=Path, help="file for the JSON document; stdout otherwise")
    arguments = parser.parse_args()
    try:
        text = json.dumps(measure(arguments), indent=1)
    except SpokeshaveError as error:
        sys.exit(f"error: {error}")
    arguments.output.write_text(text) if arguments.output else print(text)


if __name__ == "__main__":
    main()
