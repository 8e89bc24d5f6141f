"""Accuracy and time against the number of output rows that share their kept columns -> bench/results/row_sharing.json.

    python -m bench.row_sharing
    python -m bench.row_sharing --tuned --network gru --prepare && python -m bench.row_sharing --tuned --network gru

A pretrained CIFAR-10 ResNet-56 and the keyword network GRU-400 are pruned layer by layer (`papers/layerwise.py`); with
`--tuned` what is left is then trained with the dense network as teacher. They are compiled in float32 and int8, and
judged through the deployment on test data. All deployments of a network are timed in one interleaved run, one thread,
one sample. First layer and classifier stay dense. Kept columns come in fours, so that one pruned network serves both
precisions. What was trained is kept in runs/papers: a run that was stopped goes on where it was, and after `--prepare`
only times.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from papers.deployments import Store, Trial, discard, store, with_times
from papers.keywords import heard_otherwise
from papers.layerwise import FineTuning, Subject, cnn, gru, trial
from papers.masks import Shape, width

from bench.accuracy_tables import best_point
from bench.records import RESULTS, join, provenance
from spokeshave.data import DATA, Batches
from spokeshave.schemes.block_column_row import BlockColumnRow

ROWS = (1, 4, 8, 16, 32)
COLUMN_GROUP = 4
PRECISIONS = ("float32", "int8")
RATES = {"resnet56": (2.0, 3.0), "gru": (2.0, 4.0, 8.0, 16.0)}
TUNED_RATES = {"resnet56": (1.5, 2.0), "gru": (1.5, 2.0)}
SEEDS = {"resnet56": (0,), "gru": (0, 1, 2)}
TUNING_IMAGES, TUNING_EPOCHS = 12_800, 34
Point = tuple[float, int]  # a rate, and the rows that share a column set
FITTED = 512  # images that the ResNet's layers are fitted to
PRUNING = {
    "resnet56": f"layers fitted to {FITTED} images; one seed",
    "gru": "layers fitted to 150 clips, judged on 150 others; means of three seeds",
}


@dataclass(frozen=True)
class Made:
    """The first seed's subject, how it was pruned, and every seed's trials."""

    subject: Subject
    pruning: str
    by_seed: list[list[Trial]]


def shared_by(rows: int, rate: float, shape: Shape) -> BlockColumnRow:
    """A layer at a rate, `rows` rows to a column set."""
    block = min(rows, shape[0]), width(shape)
    return BlockColumnRow(1 - 1 / rate, block, column_group=COLUMN_GROUP)


def subject_of(network: str, seed: int) -> Subject:
    """What is pruned."""
    return cnn(seed, False, 56, 10_000, FITTED, 1) if network == "resnet56" else gru(seed, False)


def tuning_of(network: str, subject: Subject) -> FineTuning:
    """How what pruning leaves is trained on."""
    if network == "resnet56":
        data = DATA["cifar10"]().shortened(TUNING_IMAGES)
        about = f"{TUNING_IMAGES:,} images of fine-tuning"
        return FineTuning(data, 1, 0.01, about, precision=torch.bfloat16)
    clips = subject.data.train
    assert isinstance(clips, Batches)
    data = replace(subject.data, train=replace(clips, augment=heard_otherwise))
    about = f"{TUNING_EPOCHS} passes of fine-tuning over the clips, moved and mixed"
    return FineTuning(data, TUNING_EPOCHS, 2e-3, about, features=("states",), adam=True)


def trials(
    kept: Store, subject: Subject, seed: int, points: Sequence[Point], tuning: FineTuning | None
) -> list[Trial]:
    """Dense, then every number of rows at every rate, in both precisions."""
    made = [trial(kept, subject, "dense", None, seed, precision=precision) for precision in PRECISIONS]
    for (rate, rows), precision in product(points, PRECISIONS):
        scheme = partial(shared_by, rows, rate)
        name = f"{rows} rows {rate:g}x"
        made.append(trial(kept, subject, name, scheme, seed, precision=precision, fine_tuning=tuning))
    return made


def made(network: str, points: Sequence[Point], tuned: bool, seeds: Sequence[int]) -> Made:
    """Of every seed; what earlier runs made comes from the disk."""
    with store(False) as kept:
        found: list[list[Trial]] = []
        subject, tuning = None, None
        for seed in reversed(seeds):
            subject = subject_of(network, seed)
            tuning = tuning_of(network, subject) if tuned else None
            found.insert(0, trials(kept, subject, seed, points, tuning))
    assert subject is not None
    return Made(subject, f"{PRUNING[network]}; {tuning.about if tuning else 'no training'}", found)


def measure(network: str, points: Sequence[Point], tuned: bool, rounds: int) -> dict[str, Any]:
    """Mean accuracy over seeds, and the time of the first seed's deployments, which are then removed."""
    all_of_it = made(network, points, tuned, SEEDS[network])
    origin, rows = provenance(1), []
    first_seed = with_times(all_of_it.by_seed[0], all_of_it.subject.example, rounds)
    for first, *same in zip(first_seed, *all_of_it.by_seed, strict=True):
        accuracies = [one.record["test"] for one in same]
        row = {key: value for key, value in first.items() if key not in ("kind", "seed", "test")}
        rows.append(row | {"accuracy": statistics.fmean(accuracies), "accuracies": accuracies})
    for trials_of_seed in all_of_it.by_seed:
        discard(trials_of_seed)
    found = {"network": network, "about": all_of_it.subject.about, "pruning": all_of_it.pruning}
    return {**found, "seeds": SEEDS[network], "best_point": best_point(rows), **origin, "rows": rows}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=RATES, action="append", help="otherwise all")
    parser.add_argument("--rate", type=float, action="append", help="otherwise the network's own")
    parser.add_argument("--rows", type=int, action="append", help="otherwise " + ", ".join(map(str, ROWS)))
    parser.add_argument("--seed", type=int, action="append", help="to prepare; otherwise the network's own")
    parser.add_argument("--tuned", action="store_true", help="train what pruning left")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument(
        "--prepare", action="store_true", help="prune and compile what is missing; time nothing"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "row_sharing.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for network in arguments.network or RATES:
        rates = arguments.rate or (TUNED_RATES if arguments.tuned else RATES)[network]
        points = list(product(rates, arguments.rows or ROWS))
        if arguments.prepare:
            made(network, points, arguments.tuned, arguments.seed or SEEDS[network])
        else:
            found = measure(network, points, arguments.tuned, arguments.rounds)
            join(arguments.output, found, ("network", "pruning"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
