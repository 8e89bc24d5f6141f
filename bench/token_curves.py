"""Accuracy by latency of token reducers, a learned selector beside class attention and random tokens.

    python -m bench.token_curves [--prepare] [--seeds N] [--rounds N] [--output FILE]

The pretrained keyword transformer KWT-1, fine-tuned with a reducer in front of block 2 that keeps three quarters, half
or three tenths of the frames: a selector with packages, and at the number of tokens that it came to, those that the
class token attends to most and random ones. Accuracy is on the test clips of every seed, time that of the first seed's
compiled networks: float32, batch of one, one thread, one interleaved run; where counts differ from clip to clip, the
mean over clips. What is trained and compiled stays in runs/papers: with `--prepare` nothing is timed. Writes
`results/token_curves.json` and a chart.
"""

import argparse
import copy
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from papers.deployments import Store, timed
from papers.keyword_transformer import HeardWords, heard_words
from papers.token_trials import Recipe, fit_selectors, measured, set_thresholds, warm_start
from papers.trials import RUNS, remembered
from torch import nn

from bench.records import RESULTS, join, provenance
from spokeshave.compiler import NativeDeployment, compile_network, load_deployment
from spokeshave.data import Batches
from spokeshave.measure import evaluate
from spokeshave.report.chart import Line, alone, line_chart
from spokeshave.tokens import CLSAttention, Random, insert

KEEPS = (0.75, 0.5, 0.3)
SELECTOR, DENSE = "selector", "dense"
KINDS = {SELECTOR: "own", "class attention": "peer", "random": "warm"}  # and how they are drawn
PLACE, TIMED_CLIPS = 2, 20

Row = dict[str, Any]


def recipe(keep: float) -> Recipe:
    """How each is fine-tuned."""
    return Recipe(
        (PLACE,), (keep,), 4, 8, rate=1e-3, network_rate=2e-4, tokens=0.0, warm_steps=40, settling=4
    )


def trained(heard: HeardWords, seed: int, kind: str, keep: float, counts: Sequence[float]) -> nn.Module:
    """The network with a reducer in it; `counts` are the selector's mean tokens of each block, for all others."""
    way, network = recipe(keep), copy.deepcopy(heard.network)
    torch.manual_seed(seed)
    scorer = CLSAttention() if kind == "class attention" else Random(seed)
    aimed = [count - 1 for count in (counts[0], counts[PLACE])] if counts else []
    reduced = insert(network, way.learned() if kind == SELECTOR else way.fixed(aimed, scorer))

    def train(fresh: nn.Module) -> None:
        if kind == SELECTOR:
            warm_start(fresh, reduced, heard.network, heard.clips, way)
        fit_selectors(fresh, reduced, heard.network, heard.clips, way, seed)

    name = f"token_curves/{kind.replace(' ', '_')}-{keep}"
    Store(RUNS).checkpoint(name, (seed, way, heard.about), network, train)
    set_thresholds(network, reduced, heard.clips, way)
    return network


def figures_of(make: Callable[[], nn.Module], heard: HeardWords) -> dict[str, Any]:
    """Accuracy and tokens on the test's clips."""
    return measured(make(), heard.clips).figures()


def rows_of(seed: int) -> Iterator[tuple[Row, Callable[[], nn.Module]]]:
    """What is found of every network of a seed, and the network itself."""
    heard = heard_words(seed)
    accuracy = evaluate(heard.network, heard.clips.held_out).top1
    yield {"kind": DENSE, "keep": 1.0, "tokens": 99.0, "accuracy": accuracy}, lambda: heard.network
    for keep in KEEPS:
        counts: list[float] = []
        for kind in KINDS:
            make = partial(trained, heard, seed, kind, keep, counts)
            name = f"token_curves/{kind.replace(' ', '_')}-{keep}-{seed}"
            found = remembered(name, partial(figures_of, make, heard))
            counts = counts or found["tokens"]
            figures = {"tokens": found["tokens"][PLACE], "accuracy": found["accuracy"]}
            yield {"kind": kind, "keep": keep, **figures}, make


def deployment(row: Row, make: Callable[[], nn.Module], clip: torch.Tensor) -> NativeDeployment:
    """The compiled network of a row, made unless it is there."""
    place = RUNS / "token_curves" / f"{row['kind'].replace(' ', '_')}-{row['keep']}"
    if not place.is_dir():
        compile_network(make(), clip).save(place)
    return load_deployment(place)


def milliseconds(deployments: Sequence[NativeDeployment], clips: torch.Tensor, rounds: int) -> list[float]:
    """Of each, the mean over clips where they keep different numbers of tokens."""
    calls = {
        f"{number}-{clip}": partial(one, clips[clip : clip + 1])
        for number, one in enumerate(deployments)
        for clip in range(TIMED_CLIPS if one.manifest.selectors else 1)
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
    return alone(line_chart(lines, "Accuracy by time of one clip, measured", "µs", ticks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--output", type=Path, default=RESULTS / "token_curves.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    test = heard_words(0).clips.held_out
    assert isinstance(test, Batches)
    by_seed = [list(rows_of(seed)) for seed in range(arguments.seeds)]
    made = [deployment(row, make, test.inputs[:1]) for row, make in by_seed[0]]
    if arguments.prepare:
        return
    record = provenance(1)
    rows = joined([[row for row, _ in some] for some in by_seed])
    for row, time in zip(rows, milliseconds(made, test.inputs, arguments.rounds), strict=True):
        row["milliseconds"] = time
        print(row)
    run = {"network": "kwt1", "seeds": list(range(arguments.seeds)), "rows": rows, "provenance": record}
    join(arguments.output, run, ["network"])
    arguments.output.with_suffix(".svg").write_text(chart(rows))


if __name__ == "__main__":
    main()
