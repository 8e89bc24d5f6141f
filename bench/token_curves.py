"""Accuracy by latency of token reducers: learned selectors beside class attention and random tokens.

    python -m bench.token_curves [--prepare] [--seeds N] [--rounds N] [--output FILE]

A vision transformer of 64 patches is trained on CIFAR-10, then fine-tuned with a reducer in front of block 1 that keeps
three quarters, 45 % or a quarter of the patches: a selector with packages, and, at the number of tokens that it came
to, those that the class token attends to most and random ones; the dense network is trained on as long. Accuracy is on
test images, for every seed of the fine-tuning; time that of the first seed's compiled networks: float32, one image, one
thread, one interleaved run; where counts differ from image to image, the mean over images. What is trained and compiled
stays in runs/papers: with `--prepare` nothing is timed. Writes `results/token_curves.json` and a chart.
"""

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from papers.deployments import Store, timed
from papers.image_transformer import CIFAR, fresh, optimizer
from papers.token_trials import Recipe, fit_selectors, measured, set_thresholds, trained_as_long, warm_start
from papers.trials import RUNS, remembered
from torch import nn

from bench.records import RESULTS, join, provenance
from spokeshave.compiler import NativeDeployment, compile_network, load_deployment
from spokeshave.data import Batches, Data, cifar10
from spokeshave.measure import evaluate
from spokeshave.methods import train
from spokeshave.report.chart import Line, alone, line_chart
from spokeshave.tokens import CLSAttention, Random, insert

KEEPS = (0.75, 0.45, 0.25)
SELECTOR, DENSE = "selector", "dense"
KINDS = {SELECTOR: "own", "class attention": "peer", "random": "warm"}  # and how they are drawn
PLACE, TIMED_IMAGES = 1, 20
DENSE_EPOCHS, DENSE_IMAGES, IMAGES, TEST = 3, 20_000, 5_000, 4_000

Row = dict[str, Any]


def recipe(keep: float) -> Recipe:
    """How each is fine-tuned."""
    return Recipe(
        (PLACE,), (keep,), 4, 2, rate=2e-3, network_rate=5e-4, tokens=0.0, warm_steps=40, settling=1
    )


def pictures() -> Data:
    """CIFAR-10, some of it a pass."""
    data = cifar10(64)
    test = data.held_out
    assert isinstance(test, Batches)
    return replace(data, held_out=replace(test, inputs=test.inputs[:TEST], labels=test.labels[:TEST]))


def dense_network(data: Data) -> nn.Module:
    """The network that all begin with."""
    network = fresh(0)

    def fit(untrained: nn.Module) -> None:
        train(untrained, data.shortened(DENSE_IMAGES), DENSE_EPOCHS, optimizer=optimizer(untrained))

    return Store(RUNS).checkpoint("token_curves/begun", (DENSE_EPOCHS, DENSE_IMAGES), network, fit)


def file_name(kind: str, keep: float) -> str:
    """What is kept of a network begins so."""
    return f"{kind.replace(' ', '_')}-{keep}"


def tuned(dense: nn.Module, data: Data, seed: int, kind: str, keep: float, tokens: float) -> nn.Module:
    """The network with a reducer in it, or none; `tokens` is how many the selector kept, for all others."""
    way, network = recipe(keep), copy.deepcopy(dense)
    kept = partial(
        Store(RUNS).checkpoint, f"token_curves/{file_name(kind, keep)}", (seed, way, IMAGES), network
    )
    if kind == DENSE:
        return kept(lambda fresh: trained_as_long(fresh, dense, data, way, seed))
    torch.manual_seed(seed)
    scorer = CLSAttention() if kind == "class attention" else Random(seed)
    fixed = [] if kind == SELECTOR else way.fixed([CIFAR.patches, tokens - 1], scorer)
    reduced = insert(network, fixed or way.learned())

    def fit(fresh: nn.Module) -> None:
        if kind == SELECTOR:
            warm_start(fresh, reduced, dense, data, way)
        fit_selectors(fresh, reduced, dense, data, way, seed)

    kept(fit)
    torch.manual_seed(seed)
    set_thresholds(network, reduced, data, way)
    return network


def rows_of(seed: int, dense: nn.Module, data: Data) -> Iterator[tuple[Row, Callable[[], nn.Module]]]:
    """What is found of every network of a seed, and the network itself."""
    make = partial(tuned, dense, data, seed, DENSE, 1.0, 0.0)
    found = remembered(f"token_curves/dense-{seed}", partial(_dense_figures, make, data))
    yield {"kind": DENSE, "keep": 1.0, "tokens": 1 + CIFAR.patches, "removed": 0.0} | found, make
    for keep in KEEPS:
        tokens = 0.0
        for kind in KINDS:
            make = partial(tuned, dense, data, seed, kind, keep, tokens)
            name = f"token_curves/{file_name(kind, keep)}-{seed}"
            found = remembered(name, partial(_figures, make, data))
            tokens = tokens or found["tokens"][PLACE]
            figures = {"tokens": found["tokens"][PLACE]} | {
                key: found[key] for key in ("accuracy", "removed")
            }
            yield {"kind": kind, "keep": keep} | figures, make


def _figures(make: Callable[[], nn.Module], data: Data) -> dict[str, Any]:
    return measured(make(), data).figures()


def _dense_figures(make: Callable[[], nn.Module], data: Data) -> dict[str, Any]:
    return {"accuracy": evaluate(make(), data.held_out).top1}


def deployment(row: Row, make: Callable[[], nn.Module], image: torch.Tensor) -> NativeDeployment:
    """The compiled network of a row, made unless it is there."""
    place = RUNS / "token_curves" / file_name(row["kind"], row["keep"])
    if not place.is_dir():
        compile_network(make(), image).save(place)
    return load_deployment(place)


def milliseconds(deployments: Sequence[NativeDeployment], images: torch.Tensor, rounds: int) -> list[float]:
    """Of each, the mean over images where they keep different numbers of tokens."""
    calls = {
        f"{number}-{image}": partial(one, images[image : image + 1])
        for number, one in enumerate(deployments)
        for image in range(TIMED_IMAGES if one.manifest.selectors else 1)
    }
    times = {name: time["milliseconds"] for name, time in timed(calls, rounds).items()}
    return [
        statistics.fmean(time for name, time in times.items() if name.split("-")[0] == str(number))
        for number in range(len(deployments))
    ]


def joined(by_seed: Sequence[Sequence[Row]]) -> list[Row]:
    """One row a network, with the accuracies and the mean tokens of all seeds."""
    return [
        {
            "kind": some[0]["kind"],
            "keep": some[0]["keep"],
            "tokens": statistics.fmean(row["tokens"] for row in some),
            "removed": statistics.fmean(row["removed"] for row in some),
            "accuracies": [row["accuracy"] for row in some],
        }
        for some in zip(*by_seed, strict=True)
    ]


def chart(rows: Sequence[Row]) -> str:
    """Accuracy by microseconds, a line a kind of reducer, each up to the dense network."""
    points = {
        (row["kind"], row["keep"]): (1e3 * row["milliseconds"], statistics.fmean(row["accuracies"]))
        for row in rows
    }
    lines = [
        Line(
            kind, tuple(sorted(point for (name, _), point in points.items() if name in (kind, DENSE))), style
        )
        for kind, style in KINDS.items()
    ]
    lowest = min(100 * accuracy for _, accuracy in points.values()) // 2 * 2
    ticks = [(height / 100, f"{height:.0f} %") for height in range(int(lowest), 101, 2)]
    return alone(line_chart(lines, "Accuracy by time of one image, measured", "µs", ticks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--output", type=Path, default=RESULTS / "token_curves.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = pictures()
    dense, test = dense_network(data), data.held_out
    assert isinstance(test, Batches)
    by_seed = [list(rows_of(seed, dense, data.shortened(IMAGES))) for seed in range(arguments.seeds)]
    made = [deployment(row, make, test.inputs[:1]) for row, make in by_seed[0]]
    if arguments.prepare:
        return
    record = provenance(1)
    rows = joined([[row for row, _ in some] for some in by_seed])
    for row, time in zip(rows, milliseconds(made, test.inputs, arguments.rounds), strict=True):
        row["milliseconds"] = time
        print(row)
    run = {
        "network": "image_transformer",
        "seeds": list(range(arguments.seeds)),
        "rows": rows,
        "provenance": record,
    }
    join(arguments.output, run, ["network"])
    arguments.output.with_suffix(".svg").write_text(chart(rows))


if __name__ == "__main__":
    main()
