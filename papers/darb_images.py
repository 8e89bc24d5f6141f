"""Further part of DARB's check: convolutions, where a row is a filter.

    python -m papers.darb_images

The pretrained CIFAR-10 ResNet-20, its first convolution and its classifier left dense, is pruned in one shot by the
schemes of `darb.py` at two densities, and what is left is trained on for a moment, three seeds. The compiled network is
judged on all test images; those of the first seed are timed in one interleaved run. What is found goes into
`darb.json`.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from papers.darb import order, schemes
from papers.deployments import Store, Trial, first_seed, store, timed
from papers.masks import Steps
from papers.pruning import inner_matrices, plan_of, realised_density
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.criteria import Magnitude, Random
from spokeshave.data import DATA, Batches, Data
from spokeshave.measure.accuracy import evaluate
from spokeshave.methods import MaskedFineTuning, OneShot, begin, refresh_batch_norm, train
from spokeshave.networks import cifar_resnet

BEGINS = "images: "
LENGTHS = (2, 4)  # of segments: where the loss of single weights begins, and where it is clear
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Tuning:
    """How much is trained behind the pruning, with one cycle of the learning rate."""

    images: int = 6_400
    batch: int = 64
    rate: float = 0.01


TUNING = Tuning()


def trial(kept: Store, data: Data, label: str, steps: Steps, random: bool, seed: int) -> Trial:
    """ResNet-20 in a scheme, or dense, trained on alike, compiled and judged."""
    test = data.held_out
    assert isinstance(test, Batches)

    def make() -> tuple[dict[str, Any], NativeDeployment]:
        network = cifar_resnet(20, "pretrained")
        names = inner_matrices(network)
        plan = plan_of(network, names, steps[-1]) if steps else None
        session = None
        if plan is not None:
            begin(OneShot(Random(seed) if random else Magnitude()), network, plan).finish()
            session = begin(MaskedFineTuning(), network, plan)
        fewer = data.batched(TUNING.batch).shortened(TUNING.images)
        train(
            network, fewer, 1, learning_rate=TUNING.rate, session=session, seed=seed, precision=torch.bfloat16
        )
        if session is not None:
            session.finish()
        refresh_batch_norm(network, fewer.train, passes=1)
        deployment = compile_network(network.eval(), test.inputs[:1], plan)
        return {
            "scheme": label,
            "seed": seed,
            "density": realised_density(network, names),
            "test": evaluate(deployment, test).top1,
            "weight_bytes": deployment.manifest.weight_bytes,
        }, deployment

    return kept.trial(f"darb-images-{label}-{seed}".replace(" ", "_"), (asdict(TUNING), label, seed), make)


def findings(records: list[dict[str, Any]], clocked: Mapping[str, Mapping[str, float]]) -> list[Finding]:
    """The order of the schemes, and what pruning saves of the time."""
    times = {label: 1e3 * one["milliseconds"] for label, one in clocked.items()}
    darb = [times[f"DARB 1:{length}"] for length in LENGTHS]
    return [
        *(order(records, length, "accuracy", BEGINS) for length in LENGTHS),
        Finding(
            f"{BEGINS}in DARB an image takes less time than in the dense network",
            "",
            "microseconds of an image: "
            + ", ".join(f"{label} {value:.0f}" for label, value in times.items()),
            verdict(max(darb) < times["dense"]),
            "one thread, float32, first seed; each row of DARB and BMWM gathers inputs of its own",
        ),
    ]


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    torch.set_num_threads(1)
    data = DATA["cifar10"]()
    assert isinstance(data.held_out, Batches)
    compared: dict[str, tuple[Steps, bool]] = {"dense": ([], False)}
    for length in LENGTHS:
        compared |= {f"{name} 1:{length}": chosen for name, chosen in schemes(length).items()}
    with store(False) as kept:
        make = partial(trial, kept, data)
        trials = [make(label, *chosen, seed) for label, chosen in compared.items() for seed in SEEDS]
        clocked = timed(first_seed(trials, data.held_out.inputs[:1]), 31)
    records = [one.record for one in trials]
    figures = {"trials": records, "times": clocked}
    add(HERE / "results" / "darb.json", BEGINS, findings(records, clocked), "images", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
