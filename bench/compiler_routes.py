"""The same generated C built by every C compiler of this machine, timed in one interleaved run.

    python -m bench.compiler_routes digits --compression 8
    CC=/usr/bin/clang-19 python -m bench.compiler_routes digits --isa avx2

Compilers are clang and gcc from the path, zig's clang from the `ziglang` wheel, and what CC names. Prints one JSON
document: for each compiler the seconds of one sample with quartiles, the ratio to the fastest, and the build's seconds.
"""

import time
from dataclasses import asdict
from functools import partial

import torch

from bench.costs import empty_cache
from bench.one_network import Document, Pruned, parser, run
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.compiler.build import Compiler, available_compilers, find_compiler
from spokeshave.measure import interleave, limited_threads, relative_error


def measure(pruned: Pruned, isa: str | None, rounds: int) -> Document:
    """Build with each compiler, check, and time all builds against each other."""
    with torch.inference_mode():
        expected = pruned.network(*pruned.example)
    builds = {label(compiler): build(pruned, isa, compiler) for compiler in compilers()}
    contenders = {name: partial(deployment, *pruned.example) for name, (deployment, _) in builds.items()}
    with limited_threads(1):
        timed = interleave(contenders, rounds=rounds)
    fastest = timed.timings[0].name
    rows = [
        {
            **asdict(timing),
            "ratio_to_fastest": timed.ratio(timing.name, fastest).median,
            "build_seconds": builds[timing.name][1],
            "max_relative_error": relative_error(contenders[timing.name](), expected),
        }
        for timing in timed.timings
    ]
    return {"isa": builds[fastest][0].manifest.isa, "rows": rows}


def compilers() -> list[Compiler]:
    """What is installed, and the one that CC names."""
    return list(dict.fromkeys([*available_compilers(), find_compiler()]))


def label(compiler: Compiler) -> str:
    """A compiler's name in the table: zig's own version line says clang only."""
    return f"zig: {compiler.version}" if compiler.zig else compiler.version


def build(pruned: Pruned, isa: str | None, compiler: Compiler) -> tuple[NativeDeployment, float]:
    """A deployment, and the build's seconds: how much longer it took than again, from the cache.

    A small build before both lets zig set up its own files, which it does once on a machine.
    """
    seconds = []
    compile_network(torch.nn.Sequential(torch.nn.Linear(8, 8)), (torch.zeros(1, 8),), None, isa, compiler)
    with empty_cache():
        for _ in range(2):
            start = time.perf_counter()
            deployment = compile_network(pruned.network, pruned.example, pruned.plan, isa, compiler)
            seconds.append(time.perf_counter() - start)
    return deployment, seconds[0] - seconds[1]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--isa", help="instruction set; the best one of this CPU by default")
    options.add_argument("--rounds", type=int, default=21, help="rounds of the interleaved run (21)")
    arguments = options.parse_args()
    run(arguments, partial(measure, isa=arguments.isa, rounds=arguments.rounds))


if __name__ == "__main__":
    main()
