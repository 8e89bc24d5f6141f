"""What each part of the compiler brings, switched on one by one -> bench/results/ablation.json.

    python -m bench.ablation
    python -m bench.ablation conv3x3_256_14 resnet50 --compression 10

Every step is the same pruned network, checked against PyTorch, and compiled with one thing more than the step before:
kept weights are always packed in the order of use, for there is no code for anything else.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from bench.catalogue import CASES, Case, make
from bench.chains import CHAINS
from bench.contest import load_now
from bench.own import plan_for, pruned
from bench.records import RESULTS, join, provenance
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.compiler.compile import build, generate
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.isa import best_here
from spokeshave.compiler.passes import pipeline
from spokeshave.compiler.passes.absorb_padding import absorb_padding
from spokeshave.compiler.passes.fold_batch_norm import fold_batch_norm
from spokeshave.compiler.passes.fuse_activation import fuse_activation
from spokeshave.compiler.passes.fuse_residual import fuse_residual
from spokeshave.compiler.schedule import Chooser, Product, Schedule, schedule_for
from spokeshave.measure import Clock, interleave, limited_threads, relative_error
from spokeshave.measure.interleave import CLOCKS
from spokeshave.plan import Plan
from spokeshave.schemes.scheme import Packed

ALL = {**CASES, **CHAINS}
DRAWN = ("conv3x3_256_14", "bert_ffn", "resnet50", "vgg16")
MASKS = ("block", "unstructured")
FUSION = (absorb_padding, fold_batch_norm, fuse_activation, fuse_residual)


@dataclass(frozen=True)
class FixedTile:
    """In the tuner's place: every product has the register tile of so many rows and at most so many vectors.

    With `reordered`, rows that keep similar columns share panels where the rows as they are do not.
    """

    rows: int
    vectors: int
    reordered: bool = False

    def tune(self, segments: Sequence[Graph], packed: Mapping[str, Packed]) -> Chooser:
        """The chooser; nothing is timed."""
        return self._schedule

    def _schedule(self, product: Product) -> Schedule:
        isa = best_here()
        tile = {"rows": self.rows, "vectors": min(self.vectors, isa.vectors_for(self.rows))}
        return replace(schedule_for(product, isa), **tile, by_blocks=False, reordered=self.reordered)


@dataclass(frozen=True)
class Step:
    """One more thing switched on; without `tile` the compiler's own schedules are used, tuned or not."""

    name: str
    fused: bool
    tile: FixedTile | None = None
    tuned: bool = False


def steps(rows: int) -> tuple[Step, ...]:
    """The steps for a plan whose kept columns are shared by `rows` rows."""
    most = max(count for count, _ in best_here().rows_by_vectors if count <= rows)
    return (
        Step("one output row and one vector of lanes at a time", False, FixedTile(1, 1)),
        Step("fusion: batch norm, padding, activation, residual", True, FixedTile(1, 1)),
        Step("a weight is loaded once for several vectors", True, FixedTile(1, 64)),
        Step(f"an input is loaded once for {most} neighbouring rows", True, FixedTile(most, 64)),
        Step("rows that keep similar columns are neighbours", True, FixedTile(most, 64, reordered=True)),
        Step("the compiler's own schedules", True),
        Step("tuned schedules", True, tuned=True),
    )


def measure(case: Case, compression: float, mask: str, rounds: int, clock: Clock = "wall") -> dict[str, Any]:
    """Compile the network of every step, check it, and time all of them in one run."""
    network, inputs = make(case)
    plan = plan_for(network, compression, case, unstructured=mask == "unstructured")
    network = pruned(network, plan)
    chosen = steps(case.rows)
    contenders = {step.name: deployment(step, network, inputs, plan) for step in chosen}
    with torch.inference_mode():
        expected = network(*inputs)
    errors = {name: relative_error(run(*inputs), expected) for name, run in contenders.items()}
    origin = provenance(1)
    with limited_threads(1):
        runs = {name: partial(one, *inputs) for name, one in contenders.items()}
        run = interleave(runs, rounds=rounds, clock=clock)
    timings = [run.timing(step.name) for step in chosen]
    return {
        "network": case.name,
        "compression": compression,
        "mask": mask,
        "rounds": rounds,
        "clock": clock,
        **origin,
        "load_average_after": load_now(),
        "steps": [
            {
                "name": timing.name,
                "milliseconds": timing.median_seconds * 1e3,
                "lower_quartile": timing.lower_quartile * 1e3,
                "upper_quartile": timing.upper_quartile * 1e3,
                "max_relative_error": errors[timing.name],
                "through_pytorch": len(contenders[timing.name].fallen_out),
            }
            for timing in timings
        ],
    }


def deployment(
    step: Step, network: nn.Module, inputs: tuple[Tensor, ...], plan: Plan | None
) -> NativeDeployment:
    """The network as one step compiles it."""
    with _passes(step.fused):
        if step.tile is None:
            return compile_network(network, inputs, plan, tune=step.tuned)
        return NativeDeployment(*build(generate(network, inputs, plan, tuner=step.tile)))


@contextmanager
def _passes(fused: bool) -> Iterator[None]:
    chosen = tuple(one for one in pipeline.PASSES if fused or one not in FUSION)
    with patch.object(pipeline, "PASSES", chosen):
        yield


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="*", choices=[*ALL, []], help=f"otherwise {', '.join(DRAWN)}")
    parser.add_argument("--compression", type=float, default=10.0)
    parser.add_argument("--mask", nargs="+", choices=MASKS, default=MASKS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--output", type=Path, default=RESULTS / "ablation.json")
    arguments = parser.parse_args()
    for name in arguments.network or DRAWN:
        for mask in arguments.mask:
            print(f"{name}, {mask}", file=sys.stderr, flush=True)
            run = measure(ALL[name], arguments.compression, mask, arguments.rounds, arguments.clock)
            join(arguments.output, run, ("network", "mask"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
