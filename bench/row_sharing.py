"""Accuracy and time against the number of output rows that share their kept columns -> bench/results/row_sharing.json.

    python -m bench.row_sharing
    python -m bench.row_sharing --rows 8 --compression 2 --images 1000 --output /tmp/one.json

A pretrained CIFAR-10 ResNet-56 is pruned by layer-wise reconstruction, fine-tuned with the dense network as its
teacher, compiled in float32 and int8, and evaluated through the deployment on the held-out images; all deployments are
then timed in one interleaved run, one thread, one image. First layer and classifier stay dense. Kept columns come in
fours of neighbouring channels, so that one pruned network serves both precisions. Pruned networks are kept in --folder:
a run that was stopped goes on where it was.
"""

import argparse
import copy
import sys
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from bench.records import RESULTS, join, provenance
from spokeshave.atomic import write_atomically
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.data import Data
from spokeshave.data.cifar10 import cifar10
from spokeshave.measure import interleave, limited_threads
from spokeshave.measure.accuracy import evaluate
from spokeshave.methods import MaskedFineTuning, Reconstruction, Teacher, begin, refresh_batch_norm, train
from spokeshave.networks import cifar_resnet
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.weights import weights_of

DEPTH, CALIBRATION_BATCHES, COLUMN_GROUP = 56, 8, 4
LEARNING_RATE = 0.02
PRECISIONS = ("float32", "int8")


def plan_for(network: nn.Module, rows: int, compression: float) -> Plan:
    """Every inner layer at the same compression, `rows` rows to a column set."""
    rules = []
    for weight in [weight for weight in weights_of(network) if weight.wanted][1:-1]:
        columns = torch.Size(weight.shape[1:]).numel()
        scheme = BlockColumnRow(1 - 1 / compression, (rows, columns), column_group=COLUMN_GROUP)
        rules.append(Rule(weight.parameter, scheme))
    return Plan(tuple(rules))


def pruned(dense: nn.Module, data: Data, plan: Plan, images: int) -> nn.Module:
    """The network in the plan: reconstructed, then fine-tuned on `images` images."""
    network = copy.deepcopy(dense)
    begin(Reconstruction(data.train, CALIBRATION_BATCHES), network, plan).finish()
    if images:
        session = begin(MaskedFineTuning(), network, plan)
        shortened, teacher = data.shortened(images), Teacher(dense)
        train(
            network, shortened, 1, learning_rate=LEARNING_RATE, session=session, teacher=teacher,
            precision=torch.bfloat16,
        )  # fmt: skip
        session.finish()
        refresh_batch_norm(network, data.train)
    return network.eval()


def kept(path: Path, dense: nn.Module, data: Data, plan: Plan, images: int) -> nn.Module:
    """`pruned`, from the file when it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        state = pruned(dense, data, plan, images).state_dict()
        write_atomically(path, save({name: tensor.contiguous() for name, tensor in state.items()}))
    network = copy.deepcopy(dense)
    network.load_state_dict(load_file(path))
    return network.eval()


def networks(
    arguments: argparse.Namespace, dense: nn.Module, data: Data
) -> Iterator[tuple[int, float, nn.Module, Plan | None]]:
    """The dense network (0 rows), then each number of rows at each compression."""
    yield 0, 1.0, dense, None
    for compression, rows in product(arguments.compression, arguments.rows):
        plan = plan_for(dense, rows, compression)
        name = f"{rows}_rows_{compression:g}x_{arguments.images}_images.safetensors"
        yield rows, compression, kept(arguments.folder / name, dense, data, plan, arguments.images), plan


def deployment(network: nn.Module, data: Data, precision: str, plan: Plan | None) -> NativeDeployment:
    """The network compiled; int8 is calibrated on training images."""
    batches = [inputs for _, (inputs, _) in zip(range(CALIBRATION_BATCHES), data.train, strict=False)]
    lower: dict[str, Any] = {"precision": "int8", "calibration": batches} if precision == "int8" else {}
    return compile_network(network, data.held_out.inputs[:1], plan, **lower)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Accuracy of each deployment, then the time of all."""
    data, dense = cifar10(), cifar_resnet(DEPTH, "pretrained").eval()
    inputs, labels = data.held_out.inputs[: arguments.samples], data.held_out.labels[: arguments.samples]
    deployments, rows = [], []
    for shared, compression, network, plan in networks(arguments, dense, data):
        for precision in PRECISIONS:
            one = deployment(network, data, precision, plan)
            accuracy = evaluate(one, [(inputs, labels)]).top1
            row = {"precision": precision, "rows": shared, "compression": compression, "accuracy": accuracy}
            print(row, file=sys.stderr, flush=True)
            deployments.append(one)
            rows.append(row)
    origin = provenance(1)
    with limited_threads(1):
        calls = {str(place): partial(one, inputs[:1]) for place, one in enumerate(deployments)}
        run = interleave(calls, rounds=arguments.rounds)
    for place, row in enumerate(rows):
        row["milliseconds"] = run.timing(str(place)).median_seconds * 1e3
    settings = {"samples": len(labels), "fine_tuning_images": arguments.images}
    return {"network": f"resnet{DEPTH}_cifar10", **settings, **origin, "rows": rows}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 8, 16, 32])
    parser.add_argument("--compression", type=float, nargs="+", default=[2.0, 3.0, 4.0])
    parser.add_argument("--images", type=int, default=25_000, help="training images of the fine-tuning")
    parser.add_argument("--samples", type=int, default=10_000, help="held-out images")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--folder", type=Path, default=Path("runs/row_sharing"))
    parser.add_argument("--output", type=Path, default=RESULTS / "row_sharing.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    join(arguments.output, measure(arguments), ("network",))
    return 0


if __name__ == "__main__":
    sys.exit(main())
