"""Tri-Level E-ViT (arXiv 2211.10801): examples, tokens and links of attention removed while a transformer is trained.

A small transformer is trained on MNIST images without any level, with each alone, and with all, side by side; time
is the process's, so that what else runs on the machine is not counted. Records stay in runs/papers, so a run can go on.
"""

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from papers.record import Check, Finding, main, verdict
from papers.small_vit import mnist
from papers.tri_level_training import (
    CHOOSING,
    KEEP_LINKS,
    KEEP_TOKENS,
    LEVELS,
    PLACES,
    SHAPE,
    STRIDE,
    side_by_side,
    trainee,
)
from papers.trials import remembered, spread, within
from spokeshave.data import Batches
from spokeshave.measure import evaluate

CONFIGURATIONS: dict[str, frozenset[str]] = {
    "dense": frozenset(),
    **{level: frozenset({level}) for level in LEVELS},
    "all": frozenset(LEVELS),
}


@dataclass(frozen=True)
class Amount:
    """How much is run; every seed trains on images of its own."""

    seeds: tuple[int, ...] = (0, 1, 2)
    images: int = 24_000
    epochs: int = 5
    test: int = 10_000


POOL = 50_000  # training images that seeds draw from; settings were chosen by the others, and by another seed
BATCH = 64
NEARLY_EQUAL = 0.005  # a loss of accuracy that counts as none
QUICK = Amount(seeds=(0,), images=256, epochs=2, test=200)


def trials(amount: Amount, seed: int) -> dict[str, Any]:
    """All configurations of one seed: accuracy, seconds, multiply-adds, examples of each epoch."""
    data = mnist()
    train, test = data.train, data.held_out
    assert isinstance(train, Batches)
    assert isinstance(test, Batches)
    drawn = torch.randperm(POOL, generator=torch.Generator().manual_seed(seed))[: amount.images]
    images = replace(train, inputs=train.inputs[drawn], labels=train.labels[drawn], size=BATCH)
    running = {name: trainee(images, levels, amount.epochs, seed) for name, levels in CONFIGURATIONS.items()}
    side_by_side(running)
    judged = replace(test, inputs=test.inputs[: amount.test], labels=test.labels[: amount.test])
    return {
        name: {
            "accuracy": evaluate(each.network, judged).top1,
            "process_seconds": each.seconds,
            "multiply_adds": each.work,
            "examples": each.used,
        }
        for name, each in running.items()
    }


def findings(records: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """What the paper claims: less time at equal accuracy, and each level's share of it."""
    for name in (*LEVELS, "all"):
        work, seconds = (relative(records, name, what) for what in ("multiply_adds", "process_seconds"))
        changes = [100 * (each[name]["accuracy"] - each["dense"]["accuracy"]) for each in records]
        deviation = statistics.stdev(changes) if len(changes) > 1 else 0.0
        dense, other = ([each[which]["accuracy"] for each in records] for which in ("dense", name))
        accurate = within(other, dense, NEARLY_EQUAL)
        saved = 100 * (1 - statistics.fmean(seconds))
        published = "DeiT-T -15.2 % time, +0.4 points; DeiT-S -15.7 %, +0.1" if name == "all" else ""
        yield Finding(
            "all three levels save at least 15 % of training time at equal accuracy"
            if name == "all"
            else f"{name} alone: less training time at equal accuracy",
            published,
            f"process time {-saved:+.1f} %, multiply-adds (counted) {100 * statistics.fmean(work) - 100:+.1f} %, "
            f"accuracy {statistics.fmean(changes):+.1f}{f' ± {deviation:.1f}' if len(changes) > 1 else ''} points",
            verdict(accurate and saved >= (15 if name == "all" else 0)),
            f"dense {spread(dense)}, {name} {spread(other)}; equal: shown to be less than half a point below",
        )


def relative(records: Sequence[dict[str, Any]], name: str, what: str) -> list[float]:
    """By seed: what a configuration costs, as a part of what dense training costs."""
    return [each[name][what] / each["dense"][what] for each in records]


def run(quick: bool) -> Check:
    """Train side by side, seed by seed."""
    torch.set_num_threads(1)
    amount = QUICK if quick else Amount()
    records = [
        remembered(f"tri_level_e_vit/{amount.images}-{amount.epochs}-{seed}", partial(trials, amount, seed))
        for seed in amount.seeds
    ]
    return Check(
        tuple(findings(records)),
        (
            f"{amount.images:,} MNIST images for {amount.epochs} epochs instead of ImageNet for 300; a transformer of "
            f"{SHAPE.blocks} blocks and {SHAPE.patches} patches behind two convolutions, tokens removed in front of "
            f"its block {PLACES[0]} (keep {KEEP_TOKENS}), schedules by parts of the run",
            "examples: after every epoch the fifth with the lowest loss leaves and those that were left out return, "
            "instead of a twentieth by forgetting counts five times: in so few epochs nobody forgets often",
            f"links are pruned by key ({KEEP_LINKS} of the patches are read, chosen once, in block {CHOOSING}, by "
            f"every {STRIDE}th patch): the form that can save time; the paper's mask by row saves none by itself",
            "settings were chosen with another seed and judged on training images that no seed is trained on: there "
            "the dense network got 97.9 % right, all three levels 97.8 %; before, 6,000 images for 7 epochs lost 0.8 "
            "points (92.5 % dense) and 1,500 CIFAR-10 images for 8 epochs 2.2 points (34.1 %): what a network has "
            "not learnt yet it learns later from less",
            "time is that of the process, trainings interleaved step by step, on a machine that others used as well",
        ),
        amount.seeds,
        {"records": records},
    )


if __name__ == "__main__":
    sys.exit(main("tri_level_e_vit", __doc__ or "", run))
