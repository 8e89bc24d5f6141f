"""What each part of the compiler brings, switched on one by one -> bench/results/ablation.json.

    python -m bench.ablation
    python -m bench.ablation conv3x3_256_14 deit_small --mask shuffled --compression 10

Every step is the same network, checked against PyTorch, and compiled with one thing more than the step before. The
first one computes with all weights of the network before it was pruned. What a step changed stands beside its time:
operations that run, and bytes of weights with their places.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.catalogue import CASES, Case, make
from bench.chains import CHAINS
from bench.command import window_options
from bench.contest import load_now
from bench.own import plan_for, pruned
from bench.records import join, provenance, read
from bench.store import Made, kept
from spokeshave.compiler import NativeDeployment
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.compile import build
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.isa import best_here
from spokeshave.compiler.manifest import SegmentStage
from spokeshave.compiler.passes.absorb_padding import absorb_padding
from spokeshave.compiler.passes.fold_batch_norm import fold_batch_norm
from spokeshave.compiler.passes.fuse_activation import fuse_activation
from spokeshave.compiler.passes.fuse_residual import fuse_residual
from spokeshave.compiler.passes.pipeline import PASSES
from spokeshave.compiler.schedule import Chooser, Product, Schedule, schedule_for
from spokeshave.compiler.stages import generate_from_graph
from spokeshave.compiler.tuner import Tuner
from spokeshave.compiler.verify import verify
from spokeshave.export import export_network
from spokeshave.measure import interleave, limited_threads, relative_error
from spokeshave.schemes.scheme import Packed

ALL = {**CASES, **CHAINS}
DRAWN = ("conv3x3_256_14", "bert_ffn", "resnet50", "deit_small")
MASKS = ("shuffled", "unstructured")
FUSION = (absorb_padding, fold_batch_norm, fuse_activation, fuse_residual)
KEYS = ("network", "mask")


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
        return replace(
            schedule_for(product, isa),
            rows=self.rows,
            vectors=min(self.vectors, isa.vectors_for(self.rows)),
            by_blocks=False,
            by_subsets=False,
            amx=False,
            reordered=self.reordered,
        )


@dataclass(frozen=True)
class Step:
    """One more thing switched on; without `tile` the compiler's own schedules are used, tuned or not."""

    name: str
    tile: FixedTile | None = None
    packed: bool = True
    fused: bool = True
    tuned: bool = False


def steps(rows: int) -> tuple[Step, ...]:
    """The steps for a network whose kept columns are shared by `rows` rows."""
    most = max(count for count, _ in best_here().rows_by_vectors if count <= rows)
    one, wide = FixedTile(1, 1), FixedTile(1, 64)
    tall, sorted_rows = FixedTile(most, 64), FixedTile(most, 64, reordered=True)
    return (
        Step("all weights; one output row and one vector of lanes at a time", one, packed=False, fused=False),
        Step("packing: kept weights alone, in the order of use", one, fused=False),
        Step("load elimination: a weight is loaded once for several vectors", wide, fused=False),
        Step(f"load elimination: an input is loaded once for {most} neighbouring rows", tall, fused=False),
        Step("reorder: rows that keep similar columns are neighbours", sorted_rows, fused=False),
        Step("fusion: batch norm, padding, activation, residual", sorted_rows),
        Step("the compiler's own choice of tiles, orders and subsets"),
        Step("tuning: tiles and chunks timed on the machine", tuned=True),
    )


@dataclass(frozen=True)
class Subject:
    """A network before and after pruning, its sample, and the folder that keeps its deployments."""

    case: Case
    dense: nn.Module
    smaller: nn.Module
    inputs: tuple[Tensor, ...]
    folder: Path

    def deployment(self, index: int, step: Step) -> Made:
        """The network as one step compiles it."""
        return kept(self.folder / str(index), repr(step), lambda: self._make(step))

    def _make(self, step: Step) -> Made:
        network = self.smaller if step.packed else self.dense
        deployment = compiled(network, self.inputs, step)
        with torch.inference_mode():
            error = relative_error(deployment(*self.inputs), network(*self.inputs))
        stages = [stage for stage in deployment.manifest.stages if isinstance(stage, SegmentStage)]
        return deployment, {
            "max_relative_error": error,
            "through_pytorch": len(deployment.fallen_out),
            "operations": sum(len(stage.steps) for stage in stages),
            "weight_bytes": deployment.manifest.weight_bytes,
            "kernels": sorted({step.kernel for stage in stages for step in stage.steps}),
        }


def compiled(network: nn.Module, inputs: tuple[Tensor, ...], step: Step) -> NativeDeployment:
    """The whole way from a network to a deployment, with the passes and the schedules of a step."""
    imported = import_program(export_network(network, inputs))
    graph = verify(imported.graph)
    for run in PASSES:
        graph = verify(run(graph)) if step.fused or run not in FUSION else graph
    tuner: Any = Tuner(best_here(), find_compiler(), 1) if step.tuned else step.tile
    return NativeDeployment(
        *build(generate_from_graph(graph, imported.structure.to_json(), {}, best_here(), tuner))
    )


def subject(case: Case, compression: float, mask: str, conversions: Path) -> Subject:
    """Prune a case; `shuffled`: rows that share their columns lie apart, as filters of one pattern do."""
    network, inputs = make(case)
    plan = plan_for(network, compression, case, unstructured=mask == "unstructured")
    smaller = pruned(network, plan)
    if mask == "shuffled" and plan is not None:
        named = dict(smaller.named_parameters())
        with torch.no_grad():
            for name in plan.resolve(smaller):
                named[name].copy_(named[name][torch.randperm(len(named[name]))])
    folder = conversions / "ablation" / f"{case.name}-{mask}-{compression:g}x"
    return Subject(case, network, smaller, inputs, folder)


def measure(subject: Subject, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time all steps in one run; with `arguments.prepare` they are made and kept, and nothing is timed."""
    chosen = steps(subject.case.rows)
    made = {step.name: subject.deployment(index, step) for index, step in enumerate(chosen)}
    if arguments.prepare:
        return {}
    origin = provenance(1)
    with limited_threads(1):
        runs = {name: partial(deployment, *subject.inputs) for name, (deployment, _) in made.items()}
        run = interleave(runs, arguments.rounds, clock=arguments.clock, most_seconds=arguments.seconds)
    timings = [run.timing(step.name) for step in chosen]
    return {
        "network": subject.case.name,
        "rounds": timings[0].rounds,
        "clock": arguments.clock,
        **origin,
        "load_average_after": load_now(),
        "steps": [
            {
                "name": timing.name,
                "milliseconds": timing.median_seconds * 1e3,
                "lower_quartile": timing.lower_quartile * 1e3,
                "upper_quartile": timing.upper_quartile * 1e3,
                **made[timing.name][1],
            }
            for timing in timings
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="*", choices=[*ALL, []], help=f"otherwise {', '.join(DRAWN)}")
    parser.add_argument("--compression", type=float, default=10.0)
    parser.add_argument("--mask", nargs="+", choices=MASKS, default=["shuffled"])
    window_options(parser, "ablation")
    arguments = parser.parse_args()
    there = {tuple(run[key] for key in KEYS) for run in read(arguments.output)["runs"]}
    for name, mask in product(arguments.network or DRAWN, arguments.mask):
        if arguments.resume and (name, mask) in there:
            continue
        print(f"{name}, {mask}", file=sys.stderr, flush=True)
        run = measure(subject(ALL[name], arguments.compression, mask, arguments.conversions), arguments)
        if run:
            join(arguments.output, {**run, "mask": mask, "compression": arguments.compression}, KEYS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
