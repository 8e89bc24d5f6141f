"""Accuracy and time against the number of output rows that share their kept columns -> bench/results/row_sharing*.

    python -m bench.row_sharing
    python -m bench.row_sharing --tuned --network gru --prepare && python -m bench.row_sharing --tuned --network gru

A pretrained CIFAR-10 ResNet-56 and the keyword network GRU-400 are pruned layer by layer (`papers/layerwise.py`); with
`--tuned` what is left is then trained with the dense network as teacher, and beside it stand the dense network trained
in the same way and column sets drawn at random. All are compiled in float32 and int8, and judged through the deployment
on test data: every second sample chooses the best point, the others say what it loses (`paired.py`). All deployments of
a network are timed in one interleaved run, one thread, one sample. First layer and classifier stay dense. Kept columns
come in fours, so that one pruned network serves both precisions. What was trained is kept in runs/papers: a run that
was stopped goes on where it was, and after `--prepare` only times.
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
from papers.deployments import Store, Trial, discard, store, timed
from papers.keywords import heard_otherwise
from papers.layerwise import FineTuning, Subject, cnn, gru, trial
from papers.masks import Shape, width

from bench.accuracy_tables import best_point, reference
from bench.paired import losses
from bench.plots import write_row_sharing_plot
from bench.records import RESULTS, join, provenance
from spokeshave.data import DATA, Batches
from spokeshave.measure.peers import dense_peers
from spokeshave.schemes.block_column_row import BlockColumnRow

ROWS = (1, 4, 8, 16, 32)
COLUMN_GROUP = 4
PRECISIONS = ("float32", "int8")
PEERS = ("onnxruntime", "openvino", "onnxruntime_int8", "openvino_int8")  # of the dense network
RATES = {"resnet56": (2.0, 3.0), "gru": (2.0, 4.0, 8.0, 16.0)}
TUNED_RATES = {"resnet56": (1.25,), "gru": (1.5,)}
SEEDS = (0, 1, 2)
TUNING_IMAGES, TUNING_RATE, TUNING_EPOCHS = 12_800, 5e-3, 100
Point = tuple[float, int]  # a rate, and the rows that share a column set
RANDOM_ROWS = {"resnet56": 4, "gru": 32}  # at the least rate sets are drawn at random too
FITTED = 512  # images that the ResNet's layers are fitted to
PRUNING = {
    "resnet56": f"layers fitted to {FITTED} images",
    "gru": "layers fitted to 150 clips, judged on 150 others",
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


def tuning_of(network: str, subject: Subject, seed: int) -> FineTuning:
    """How what pruning leaves is trained on."""
    if network == "resnet56":
        data = DATA["cifar10"]().shortened(TUNING_IMAGES)
        about = f"{TUNING_IMAGES:,} images of fine-tuning"
        return FineTuning(data, 1, TUNING_RATE, about, precision=torch.bfloat16, seed=seed)
    clips = subject.data.train
    assert isinstance(clips, Batches)
    data = replace(subject.data, train=replace(clips, augment=heard_otherwise))
    about = f"{TUNING_EPOCHS} passes of fine-tuning over the clips, moved and mixed"
    return FineTuning(data, TUNING_EPOCHS, 2e-3, about, features=("states",), adam=True)


def trials(
    kept: Store,
    subject: Subject,
    seed: int,
    points: Sequence[Point],
    random_rows: int | None,
    tuning: FineTuning | None,
) -> list[Trial]:
    """Dense, then every number of rows at every rate, and some of them at random, in both precisions."""
    one = partial(trial, kept, subject, seed=seed)
    makers = [partial(one, "dense", None)]
    if tuning:
        makers.append(partial(one, "dense, trained alike", None, fine_tuning=tuning))
    for rate, rows in points:
        name, scheme = f"{rows} rows {rate:g}x", partial(shared_by, rows, rate)
        makers.append(partial(one, name, scheme, fine_tuning=tuning))
        if rows == random_rows and rate == min(points)[0]:
            makers.append(partial(one, f"random {name}", scheme, random=True, fine_tuning=tuning))
    return [maker(precision=precision) for maker, precision in product(makers, PRECISIONS)]


def made(
    network: str, points: Sequence[Point], random_rows: int | None, tuned: bool, seeds: Sequence[int]
) -> Made:
    """Of every seed; what earlier runs made comes from the disk."""
    with store(False) as kept:
        found: list[list[Trial]] = []
        subject, tuning = None, None
        for seed in reversed(seeds):
            subject = subject_of(network, seed)
            tuning = tuning_of(network, subject, seed) if tuned else None
            found.insert(0, trials(kept, subject, seed, points, random_rows, tuning))
    assert subject is not None
    counted = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    return Made(subject, f"{PRUNING[network]}; {tuning.about if tuning else 'no training'}; {counted}", found)


def measure(all_of_it: Made, network: str, seeds: Sequence[int], rounds: int) -> dict[str, Any]:
    """Accuracies over seeds, and the times of the first seed's deployments, which are then removed, and of peers."""
    subject = all_of_it.subject
    found = {"network": network, "about": subject.about, "pruning": all_of_it.pruning}
    peers, _ = dense_peers(subject.core, subject.example, only=PEERS)
    origin = provenance(1)
    calls = {
        str(place): partial(one.deployment, *subject.example)
        for place, one in enumerate(all_of_it.by_seed[0])
    }
    times = timed(calls | {peer.label: peer.run for peer in peers}, rounds)
    rows = with_losses([times[place] for place in calls], all_of_it.by_seed)
    for trials_of_seed in all_of_it.by_seed:
        discard(trials_of_seed)
    beside = {peer.label: times[peer.label] for peer in peers}
    best = best_point(rows)
    return {
        **found,
        "seeds": seeds,
        "best_point": best,
        **origin,
        "dense_peers": beside,
        "rows": rows,
    }


def with_losses(
    times: Sequence[dict[str, float]], by_seed: Sequence[Sequence[Trial]]
) -> list[dict[str, Any]]:
    """Rows with times, accuracies over seeds, and what each loses beside the dense network of either precision."""
    rows, answers = [], {}
    for time, *same in zip(times, *by_seed, strict=True):
        row = {key: same[0].record[key] for key in ("scheme", "precision", "density", "weight_bytes")} | time
        accuracies = [one.record["test"] for one in same]
        rows.append(row | {"accuracy": statistics.fmean(accuracies), "accuracies": accuracies})
        answers[row["scheme"], row["precision"]] = [one.record["right"] for one in same]
    dense = {precision: answers[reference(rows, precision)["scheme"], precision] for precision in PRECISIONS}
    for row in rows:
        own = answers[row["scheme"], row["precision"]]
        row["losses"] = {precision: losses(one, own) for precision, one in dense.items()}
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=RATES, action="append", help="otherwise all")
    parser.add_argument("--rate", type=float, action="append", help="otherwise the network's own")
    parser.add_argument("--rows", type=int, action="append", help="otherwise " + ", ".join(map(str, ROWS)))
    parser.add_argument("--seed", type=int, action="append", help="otherwise " + ", ".join(map(str, SEEDS)))
    parser.add_argument("--tuned", action="store_true", help="train what pruning left")
    parser.add_argument("--chosen", action="store_true", help="no sets that are drawn at random")
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
        seeds = arguments.seed or SEEDS
        random_rows = None if arguments.chosen else RANDOM_ROWS[network]
        all_of_it = made(network, points, random_rows, arguments.tuned, seeds)
        if not arguments.prepare:
            found = measure(all_of_it, network, seeds, arguments.rounds)
            join(arguments.output, found, ("network", "pruning"))
            if arguments.tuned:
                plot = arguments.output.with_name(f"{arguments.output.stem}-{network}.svg")
                write_row_sharing_plot(found, plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
