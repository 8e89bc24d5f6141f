"""Recurrent networks, dense and pruned, beside the dense network on the peers, in one interleaved run.

    python bench/recurrent.py [--kind gru|lstm] [--layers 2] [--hidden 1024] [--features 39] [--steps 100]

Prints a table: milliseconds for one sequence, median and least, and how many times faster than the best float32 peer.
On one thread they are processor time, on several wall time.
Weights are pruned in one shot and not trained: this script says what a plan is worth in time, nothing about accuracy.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.compiler.compile import PRECISIONS
from spokeshave.measure import dense_peers, interleave, limited_threads, relative_error
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow

SLOT_SECONDS = 0.02
KINDS = {"gru": nn.GRU, "lstm": nn.LSTM}


@dataclass(frozen=True)
class ProcessorTime:
    """A contender on one thread, timed by the processor's clock: on a busy machine the wall clock tells of others."""

    run: Callable[[], Any]

    def __call__(self) -> Any:
        """One call."""
        return self.run()

    def timed(self, calls: int) -> float:
        """Processor seconds of some calls."""
        start = time.process_time()
        for _ in range(calls):
            self.run()
        return time.process_time() - start


class Sequence(nn.Module):
    """The recurrent layers alone; their sequence is the output."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.layers = KINDS[arguments.kind](
            arguments.features, arguments.hidden, arguments.layers, batch_first=True
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, F]` -> `[B, T, H]`."""
        result: Tensor = self.layers(x)[0]
        return result


def plan_for(compression: float, arguments: argparse.Namespace, precision: str) -> Plan:
    """Blocks of as many rows as share their columns; the few weights of the first layer's input stay dense.

    In int8 columns are kept in fours: one word of the kernels.
    """
    group = 4 if precision == "int8" else 1
    scheme = BlockColumnRow(1 - 1 / compression, block=(arguments.rows, 64), column_group=group)
    return Plan((Rule("layers.weight_ih_l0*", None), Rule("layers.weight*", scheme)))


def deployment(
    arguments: argparse.Namespace, compression: float, x: Tensor, precision: str = "float32"
) -> NativeDeployment:
    """A network of the same random weights, pruned, compiled and checked against PyTorch."""
    torch.manual_seed(0)
    network = Sequence(arguments).eval()
    plan = None
    if compression > 1:
        plan = plan_for(compression, arguments, precision)
        begin(OneShot(), network, plan).finish()
    compiled = compile_network(network, x, plan, precision=precision, calibration=[x])
    compiled.threads = arguments.threads
    with torch.inference_mode():
        error = relative_error(compiled(x), network(x))
    print(
        f"{compression:g}x {precision}: relative error {error:.1e}, {compiled.manifest.weight_bytes / 1e6:.2f} MB"
    )
    if arguments.profile:
        for row in compiled.profile(x):
            print(f"    {row.operation:10s} {row.kernel:60s} {row.seconds * 1e3:8.3f} ms")
    return compiled


def contenders(arguments: argparse.Namespace, x: Tensor) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """Peers and our deployments by name, and the names of the peers."""
    torch.manual_seed(0)
    present, absent = dense_peers(Sequence(arguments).eval(), (x,), arguments.threads)
    for entry in absent:
        print(f"absent: {entry.name}: {entry.reason}", file=sys.stderr)
    runs: dict[str, Callable[[], Any]] = {peer.label: peer.run for peer in present}
    peers = list(runs)
    for compression, precision in product((1.0, *arguments.compression), PRECISIONS):
        compiled = deployment(arguments, compression, x, precision)
        runs[f"spokeshave {compression:g}x {precision}"] = partial(compiled, x)
    if arguments.threads == 1:
        runs = {name: ProcessorTime(run) for name, run in runs.items()}
    return runs, peers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=KINDS, default="gru")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--features", type=int, default=39)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rows", type=int, default=32, help="rows of a block: those that share columns (32)")
    parser.add_argument("--compression", type=float, nargs="*", default=[4, 8, 10, 16])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--profile", action="store_true", help="also print each step's time")
    arguments = parser.parse_args()
    x = torch.randn(arguments.batch, arguments.steps, arguments.features)
    with limited_threads(arguments.threads):
        runs, peers = contenders(arguments, x)
        rest = 0.03 if arguments.threads > 1 else 0.0
        run = interleave(runs, rounds=arguments.rounds, slot_seconds=SLOT_SECONDS, rest_seconds=rest)
    best = run.fastest(peers)
    least = min(run.seconds[best])
    for timing in run.timings:
        ratio, own = run.ratio(best, timing.name), min(run.seconds[timing.name])
        print(
            f"{timing.name:32s} {timing.median_seconds * 1e3:9.2f} ms {ratio.median:6.2f}x "
            f"({ratio.lower_quartile:.2f} - {ratio.upper_quartile:.2f}), least {own * 1e3:9.2f} ms {least / own:6.2f}x"
        )


if __name__ == "__main__":
    main()
