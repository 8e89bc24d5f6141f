"""Time of compiled vision transformers by how many tokens they keep, and with SPViT's selectors; one thread.

    python -m bench.token_counts NETWORK --folder FOLDER [--prepare] [--rounds N] [--output FILE]

Random weights, so speed only. One deployment takes the scores of an image's patches as an input, so that every number
of tokens is timed with the same code. Another has three of HeatViT's selectors, whose thresholds are such that an image
keeps HeatViT's share of its patches behind each (arXiv 2211.08110). Deployments are kept in FOLDER: with `--prepare`
they are made and not timed. Writes `results/token_counts.json` and a chart of the staircase.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from papers.token_times import selector_share
from torch import Tensor, nn

from bench.catalogue import CASES
from bench.records import RESULTS, join, provenance
from spokeshave.compiler import NativeDeployment, compile_network, load_deployment
from spokeshave.measure import interleave, limited_threads
from spokeshave.report.chart import Line, alone, line_chart
from spokeshave.token_selection import select_tokens
from spokeshave.tokens import Learned, Package, Threshold, TokenReducer, insert

PLACES, KEPT = (3, 6, 9), (0.7, 0.39, 0.21)  # blocks, and shares of the image's patches
PATCHES, BLOCKS = 196, 12
SPREAD = 40.0  # of the selectors' votes, so that scores of random weights are no ties
COUNTS = (*range(1, PATCHES + 1, 5), *range(130, 162), PATCHES)


class Forced(nn.Module):
    """A vision transformer of which as many patches reach the first block as have a score of 1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, scores: Tensor) -> Tensor:
        network: Any = self.network
        x = select_tokens(network.vit.embeddings(images), scores, "given")
        for layer in network.vit.layers:
            x = layer(x, None)
        logits: Tensor = network.classifier(network.vit.layernorm(x)[:, 0])
        return logits


class Selected(nn.Module):
    """A vision transformer with selectors, logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images).logits
        return logits


def dense(name: str) -> nn.Module:
    """The network of the catalogue, the same weights each time."""
    torch.manual_seed(0)
    network, _ = CASES[name].make()
    return network.eval()


def image() -> Tensor:
    """The image that is timed."""
    return torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def with_selectors(name: str, rest: Package) -> nn.Module:
    """The network with selectors whose thresholds leave the wanted shares of the image's patches."""
    thresholds: list[float] = []
    for wanted in KEPT:
        network, found = _inserted(name, [*thresholds, 0.0], rest), list[Tensor]()
        network.network.token_selectors[str(PLACES[len(thresholds)])].register_forward_hook(
            lambda module, given, scores, found=found: found.append(scores)
        )
        with torch.no_grad():
            network(image())
        patches = found[0][0, : found[0].shape[1] - len(thresholds)].sort(descending=True).values
        left = round(wanted * PATCHES)
        thresholds.append(float(patches[left - 1 : left + 1].mean()))
    return _inserted(name, thresholds, rest)


def _inserted(name: str, thresholds: list[float], rest: Package) -> Any:
    network = dense(name)
    torch.manual_seed(2)
    reducers = [
        TokenReducer(place, Learned(narrow=True), Threshold(least), rest)
        for place, least in zip(PLACES, thresholds, strict=False)
    ]
    inserted = insert(network, reducers)
    for selector in inserted.selectors.values():
        for votes in selector.votes:
            votes[-1].weight.data *= SPREAD  # type: ignore[index]
    return Selected(network).eval()


def work(counts: list[int], width: int) -> float:
    """Multiply-adds of the blocks that work on so many tokens each."""
    return sum(12 * count * width**2 + 2 * count**2 * width for count in counts)


def deployments(name: str, folder: Path) -> dict[str, NativeDeployment]:
    """Every contender, compiled or loaded."""
    scores = torch.ones(1, PATCHES)
    calibration = [torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(3))]
    int8: dict[str, Any] = {"precision": "int8", "calibration": calibration}
    makers = {
        "forced": lambda: compile_network(Forced(dense(name)).eval(), (image(), scores)),
        "dense": lambda: compile_network(Selected(dense(name)).eval(), image()),
        "dense int8": lambda: compile_network(Selected(dense(name)).eval(), image(), **int8),
        "selected": lambda: compile_network(with_selectors(name, Package()), image()),
        "selected int8": lambda: compile_network(with_selectors(name, Package()), image(), **int8),
    }
    made = {}
    for label, make in makers.items():
        place = folder / f"{name} {label}"
        if not place.is_dir():
            make().save(place)
        made[label] = load_deployment(place)
    return made


def staircase(deployment: NativeDeployment, rounds: int) -> list[dict[str, float]]:
    """Milliseconds by the number of tokens."""
    calls = {}
    for count in COUNTS:
        scores = (torch.arange(PATCHES) < count).float()[torch.randperm(PATCHES)].unsqueeze(0)
        calls[str(count + 1)] = partial(deployment, image(), scores)
    run = interleave(calls, rounds=rounds, clock="processor")
    return [
        {"tokens": int(one.name), "milliseconds": 1e3 * one.median_seconds}
        for one in sorted(run.timings, key=lambda one: int(one.name))
    ]


def measured(name: str, made: dict[str, NativeDeployment], rounds: int) -> dict[str, Any]:
    """The staircase, and the networks with selectors beside the dense ones."""
    contenders = {label: partial(each, image()) for label, each in made.items() if label != "forced"}
    run = interleave(contenders, rounds=rounds, clock="processor")
    times = {one.name: 1e3 * one.median_seconds for one in run.timings}
    config: Any = dense(name).config
    width = config.hidden_size
    rows = {}
    for label in ("selected", "selected int8"):
        made[label](image())
        left = [int(count) for count in made[label].token_counts.values()]
        blocks = [count for count in (PATCHES + 1, *left) for _ in range(BLOCKS // (len(PLACES) + 1))]
        rows[label] = {
            "tokens": left,
            "fewer_multiply_adds": 1 - work(blocks, width) / work([PATCHES + 1] * BLOCKS, width),
            "selector_share": selector_share(made[label], image()),
        }
    return {
        "network": name,
        "milliseconds": times,
        "speedup": times["dense"] / times["selected"],
        "speedup_int8": times["dense int8"] / times["selected int8"],
        "speedup_int8_over_float32": times["dense"] / times["selected int8"],
        "selected": rows,
        "staircase": staircase(made["forced"], rounds),
    }


def chart(runs: list[dict[str, Any]]) -> str:
    """Time by tokens, of the time with all of them."""
    lines = []
    for style, run in zip(("own", "peer"), runs, strict=False):
        whole = run["staircase"][-1]["milliseconds"]
        points = tuple((row["tokens"], row["milliseconds"] / whole) for row in run["staircase"])
        lines.append(Line(run["network"], points, style))
    ticks = [(share / 4, f"{share * 25} %") for share in range(5)]
    return alone(line_chart(lines, "Time by tokens that are kept, measured", "tokens", ticks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("network", choices=("deit_tiny", "deit_small"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS / "token_counts.json")
    arguments = parser.parse_args()
    with limited_threads(1):
        made = deployments(arguments.network, arguments.folder)
        if arguments.prepare:
            return
        record = provenance(1)
        run = measured(arguments.network, made, arguments.rounds) | {"provenance": record}
    document = join(arguments.output, run, ["network"])
    arguments.output.with_suffix(".svg").write_text(chart(document["runs"]))
    print(json.dumps({key: value for key, value in run.items() if key != "provenance"}, indent=1))


if __name__ == "__main__":
    main()
