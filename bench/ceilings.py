"""What this machine can do at most: multiply-adds from registers, loads by working set -> bench/results/ceilings.json.

    python -m bench.ceilings

Built like every generated kernel. Each figure is the best of several rounds, on one and on two threads at once, by the
threads' own processor time.
"""

import argparse
import ctypes
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.contest import load_now
from bench.records import HERE, RESULTS, join, provenance
from spokeshave.compiler.build import build_library, load_library
from spokeshave.compiler.isa import InstructionSet, best_here, cpu_features

ROUNDS = 9
SECONDS = 0.05
WORKING_SETS = (16, 32, 128, 512, 768, 4 << 10, 16 << 10, 64 << 10, 256 << 10)
"""KiB, of each thread."""
DOTS = {
    "vnni_int8_gops": ("dot_int8", "avx512_vnni"),
    "bf16_gflops": ("dot_bf16", "avx512_bf16"),
    "amx_int8_gops": ("tiles_int8", "amx_int8"),
    "amx_bf16_gflops": ("tiles_bf16", "amx_bf16"),
}
"""Arithmetic with instructions of its own: function, and the feature that it needs."""


def measure(isa: InstructionSet, threads: int) -> dict[str, Any]:
    """All ceilings on so many threads, the threads' rates added."""
    library = build(isa)
    arithmetic = {"f32_gflops": library.multiply_add_f32}
    if isa.name.startswith("avx512"):
        arithmetic |= {
            name: getattr(library, function)
            for name, (function, feature) in DOTS.items()
            if feature in cpu_features() and hasattr(library, function)
        }
    return {
        **{name: rate([partial(call, 200_000)] * threads) / 1e9 for name, call in arithmetic.items()},
        "load_gigabytes_a_second": {
            str(size): rate(loads(library, size << 10, threads)) / 1e9 for size in WORKING_SETS
        },
    }


def build(isa: InstructionSet) -> ctypes.CDLL:
    """The functions of ceilings.c for an instruction set."""
    source = f"#define LANES {isa.lanes}\n" + (HERE / "ceilings.c").read_text()
    library = load_library(build_library(source, isa))
    for name in ("multiply_add_f32", *(function for function, _ in DOTS.values()), "load"):
        if hasattr(library, name):
            getattr(library, name).restype = ctypes.c_double
            getattr(library, name).argtypes = [ctypes.c_long]
    library.load.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long]
    return library


def loads(library: ctypes.CDLL, size: int, threads: int) -> list[Callable[[], float]]:
    """One reader a thread, each over memory of its own."""
    memories = [np.ones(size + 64, np.uint8) for _ in range(threads)]
    repeats = max(1, (20 << 20) // size)
    return [partial(_load, library, memory, size, repeats) for memory in memories]


def _load(library: ctypes.CDLL, memory: np.ndarray, size: int, repeats: int) -> float:
    return library.load(memory.ctypes.data + -memory.ctypes.data % 64, size, repeats)


def rate(calls: list[Callable[[], float]]) -> float:
    """Work a second of all calls at once, each on a thread of its own: the best round."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return max(sum(pool.map(_one_rate, calls)) for _ in range(ROUNDS))


def _one_rate(call: Callable[[], float]) -> float:
    """Work a second of the thread's own processor time, which leaves out what other programs took."""
    call()
    work, start = 0.0, time.thread_time()
    while time.thread_time() - start < SECONDS:
        work += call()
    return work / (time.thread_time() - start)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS / "ceilings.json")
    arguments = parser.parse_args()
    for threads in arguments.threads:
        origin = provenance(threads)
        ceilings = measure(best_here(), threads)
        run = {**origin, "load_average_after": load_now(), "ceilings": ceilings}
        join(arguments.output, run, ("threads",))
        print(json.dumps(ceilings, indent=1), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
