"""What the compiler leaves out of the pruned networks since nothing reads it -> bench/results/unread.json.

    python -m bench.unread
    python -m bench.unread vgg16

A mask that many outputs share leaves channels of the layer before that no layer reads. The compiler does not compute
these (`passes/leave_out_unread.py`), so fewer weights are used than the mask keeps. No clock, no machine: one table for
all of them.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import prod

import torch

from bench.catalogue import CASES, Case, make
from bench.chains import CHAINS
from bench.own import plan_for, pruned
from bench.records import RESULTS, git_revision, read, write
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.operations import Convolution, Linear
from spokeshave.compiler.passes.leave_out_unread import leave_out_unread
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.export import export_network
from spokeshave.measure.peers import Precision

EVERY = {**CASES, **CHAINS}
NETWORKS = (
    *("resnet50", "vgg16", "mobilenet_v2", "deit_small", "bert_base"),
    *(name for name in CHAINS if name.startswith(("conv3x3", "deit_small"))),
)
COMPRESSIONS = {"mobilenet_v2": (4.0, 8.0)}


@dataclass(frozen=True)
class Left:
    """Of one pruned network: outputs of all convolutions and linear layers, how many of them are left out, and the
    shares of all weights that the mask keeps and that the compiled network uses."""

    network: str
    precision: Precision
    compression: float
    outputs: int
    left_out: int
    kept: float
    used: float


def left(case: Case, precision: Precision, compression: float) -> Left:
    """Both counts on the compiler's own graph."""
    network, inputs = make(case)
    smaller = pruned(network, plan_for(network, compression, case, precision))
    graph = optimise(import_program(export_network(smaller, inputs)).graph)
    after = leave_out_unread(graph)
    every = sum(prod(weight) for weight, _ in _layers(graph))
    kept, used = (sum(number for _, number in _layers(one)) / every for one in (graph, after))
    before, now = (sum(weight[0] for weight, _ in _layers(one)) for one in (graph, after))
    return Left(case.name, precision, compression, before, before - now, kept, used)


def _layers(graph: Graph) -> Iterator[tuple[tuple[int, ...], int]]:
    """Shape and kept weights of every layer."""
    for node in graph.nodes:
        if isinstance(node.operation, Convolution | Linear):
            weight = graph.weights[node.operation.weight]
            yield tuple(weight.shape), int(weight.count_nonzero())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", nargs="*", choices=[*NETWORKS, []], help="all of them otherwise")
    names = parser.parse_args().network or NETWORKS
    path = RESULTS / "unread.json"
    rows = [row for row in read(path).get("rows", []) if row["network"] not in names]
    with torch.inference_mode():
        for name in names:
            for compression in COMPRESSIONS.get(name, (4.0, 10.0)):
                precisions: tuple[Precision, ...] = ("fp32", "int8")
                rows += [asdict(left(EVERY[name], precision, compression)) for precision in precisions]
                print(*rows[-2:], sep="\n")
    rows.sort(key=lambda row: (row["network"], row["precision"], row["compression"]))
    write(path, {"git_revision": git_revision(), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
