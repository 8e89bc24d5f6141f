"""Accuracy and time against the number of output rows that share their kept columns -> bench/results/row_sharing.json.

    python -m bench.row_sharing
    python -m bench.row_sharing --network gru --prepare && python -m bench.row_sharing --network gru

A pretrained CIFAR-10 ResNet-56 and the keyword network GRU-400 are pruned layer by layer (`papers/layerwise.py`), with
`--images` the former is then fine-tuned with the dense network as its teacher; compiled in float32 and int8, and judged
through the deployment on test data. All deployments of a network are timed in one interleaved run, one thread, one
sample. First layer and classifier stay dense. Kept columns come in fours, so that one pruned network serves both
precisions. What was made is kept in runs/papers: a run that was stopped goes on where it was, and after `--prepare`
only times.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from papers.deployments import Store, Trial, store, with_times
from papers.layerwise import FineTuning, Subject, cnn, gru, trial
from papers.masks import Shape, width

from bench.accuracy_tables import best_point
from bench.records import RESULTS, join, provenance
from spokeshave.data import DATA
from spokeshave.schemes.block_column_row import BlockColumnRow

ROWS = (1, 4, 8, 16, 32)
COLUMN_GROUP = 4
PRECISIONS = ("float32", "int8")
RATES = {"resnet56": (2, 3), "gru": (2, 4, 8, 16)}
SEEDS = {"resnet56": (0,), "gru": (0, 1, 2)}
FITTED = 512  # images that the ResNet's layers are fitted to
PRUNING = {
    "resnet56": f"layers fitted to {FITTED} images; one seed",
    "gru": "layers fitted to 150 clips, judged on 150 others; means of three seeds",
}


def shared_by(rows: int, rate: int, shape: Shape) -> BlockColumnRow:
    """A layer at a rate, `rows` rows to a column set."""
    block = min(rows, shape[0]), width(shape)
    return BlockColumnRow(1 - 1 / rate, block, column_group=COLUMN_GROUP)


def subject_of(network: str, seed: int) -> Subject:
    """What is pruned."""
    return cnn(seed, False, 56, 10_000, FITTED, 1) if network == "resnet56" else gru(seed, False)


def trials(kept: Store, subject: Subject, seed: int, rates: Sequence[int], tuned: int) -> list[Trial]:
    """Dense, then every number of rows at every rate, in both precisions."""
    tuning = FineTuning(DATA["cifar10"](), tuned) if tuned else None
    made = [trial(kept, subject, "dense", None, seed, precision=precision) for precision in PRECISIONS]
    for rate, rows, precision in product(rates, ROWS, PRECISIONS):
        scheme = partial(shared_by, rows, rate)
        name = f"{rows} rows {rate}x"
        made.append(trial(kept, subject, name, scheme, seed, precision=precision, fine_tuning=tuning))
    return made


def made(network: str, rates: Sequence[int], tuned: int) -> tuple[Subject, list[list[Trial]]]:
    """The first seed's subject, and every seed's trials; those of earlier runs from the disk."""
    subjects = {seed: subject_of(network, seed) for seed in SEEDS[network]}
    with store(False) as kept:
        by_seed = [trials(kept, subject, seed, rates, tuned) for seed, subject in subjects.items()]
    return next(iter(subjects.values())), by_seed


def measure(network: str, rates: Sequence[int], tuned: int, rounds: int) -> dict[str, Any]:
    """Mean accuracy over seeds, and the time of the first seed's deployments."""
    subject, by_seed = made(network, rates, tuned)
    origin, rows = provenance(1), []
    for first, *same in zip(with_times(by_seed[0], subject.example, rounds), *by_seed, strict=True):
        accuracies = [one.record["test"] for one in same]
        row = {key: value for key, value in first.items() if key not in ("kind", "seed", "test")}
        rows.append(row | {"accuracy": statistics.fmean(accuracies), "accuracies": accuracies})
    pruning = f"{PRUNING[network]}; {f'{tuned:,} images of fine-tuning' if tuned else 'no training'}"
    found = {"network": network, "about": subject.about, "pruning": pruning, "seeds": SEEDS[network]}
    return {**found, "best_point": best_point(rows), **origin, "rows": rows}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=RATES, action="append", help="otherwise all")
    parser.add_argument("--rate", type=int, action="append", help="otherwise the network's own")
    parser.add_argument(
        "--images", type=int, default=0, help="of fine-tuning, for the ResNet; otherwise none"
    )
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument(
        "--prepare", action="store_true", help="prune and compile what is missing; time nothing"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "row_sharing.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for network in arguments.network or RATES:
        rates, tuned = arguments.rate or RATES[network], arguments.images if network == "resnet56" else 0
        if arguments.prepare:
            made(network, rates, tuned)
        else:
            join(arguments.output, measure(network, rates, tuned, arguments.rounds), ("network",))
    return 0


if __name__ == "__main__":
    sys.exit(main())
