"""SPViT (arXiv 2112.13890): learned selectors and package tokens against class attention and random tokens.

A pretrained keyword transformer (98 frames and a class token, 12 blocks) is fine-tuned with three selectors by labels,
its own dense scores and the shares that are to stay; class attention and random tokens are fine-tuned alike at the
realised number of tokens, and the dense network as long. Then the latency staircase of one of its blocks, and
a placement that meets three fifths of the dense latency.
"""

import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from papers.keyword_transformer import HeardWords, heard_words
from papers.record import Check, Finding, main, verdict
from papers.token_trials import PACKAGE, Recipe, trial
from papers.trials import beats, remembered, spread
from spokeshave.allocation.tokens import TokenBudget, allocate_tokens, token_losses
from spokeshave.data import Batches
from spokeshave.devices import HostDevice
from spokeshave.devices.staircase import block_staircase
from spokeshave.tokens.staircase import Staircase

SEEDS = (0, 1, 2)
RECIPE = Recipe((3, 6, 9), (0.66, 0.44, 0.29), 4, 8, rate=1e-3, network_rate=2e-4, tokens=0.0, warm_steps=40)
QUICK = Recipe((1,), (0.5,), 4, 1, warm_steps=5)
COUNTS = tuple(range(3, 100, 4))
PART = 0.6  # of the dense blocks' latency, which the placement is to meet


def run(quick: bool) -> Check:
    """Everything; a single seed and reducer when quick."""
    seeds = SEEDS[:1] if quick else SEEDS
    heard = {seed: heard_words(seed) for seed in seeds}
    trials = {seed: _trial(heard[seed], seed, quick) for seed in seeds}
    accuracies: dict[str, list[float]] = {
        kind: [trials[seed][kind]["accuracy"] for seed in seeds] for kind in trials[seeds[0]]
    }
    accuracies["dense, trained as long"] = [trials[seed]["dense"]["trained"] for seed in seeds]
    placed = _placement(heard[seeds[0]], quick)
    about = f"{heard[seeds[0]].about}; {len(_test(heard[seeds[0]]).labels)} test clips a seed"
    return Check(
        (*_findings(trials, accuracies), *_placing(placed)),
        (
            "a keyword transformer in the place of DeiT: ImageNet and its pretrained transformers cannot be had here",
            f"{RECIPE.epochs} epochs of 150 clips instead of 30 of ImageNet, without distillation of kept tokens; "
            "selectors begin by learning apart what the dense class token attends to later",
            "evaluation decides by thresholds at which the wanted share stays on training clips, and never by noise",
            f"data: {about}",
        ),
        seeds,
        {
            "recipe": asdict(RECIPE),
            "trials": {str(seed): trials[seed] for seed in seeds},
            "placement": placed,
        },
    )


def _trial(heard: HeardWords, seed: int, quick: bool) -> dict[str, dict[str, Any]]:
    name = "spvit/quick" if quick else "spvit/keywords"
    return trial(name, heard.network, heard.clips, QUICK if quick else RECIPE, seed)


def _findings(trials: Mapping[int, Any], accuracies: Mapping[str, list[float]]) -> list[Finding]:
    packaged = [each[PACKAGE] for each in trials.values()]
    removed = statistics.fmean(one["removed"] for one in packaged)
    lost = statistics.fmean(accuracies["dense"]) - statistics.fmean(accuracies[PACKAGE])
    overhead = max(one["selectors"] for one in packaged)
    last = packaged[0]["tokens"][-1], packaged[0]["token_deviation"][-1]
    return [
        Finding(
            "40 % fewer multiply-adds within 0.5 point",
            "",
            f"{removed:.1%} fewer (selectors included), {spread(accuracies[PACKAGE])} against "
            f"{spread(accuracies['dense'])} dense",
            verdict(removed >= 0.395 and lost <= 0.005),
        ),
        beats("the selector beats class attention at equal tokens", accuracies, PACKAGE, "class attention"),
        beats("the selector beats random tokens at equal tokens", accuracies, PACKAGE, "random"),
        beats("a package token is better than dropping", accuracies, PACKAGE, "selector"),
        Finding(
            "selectors cost little",
            "",
            f"{overhead:.2%} of the multiply-adds that are left",
            verdict(overhead <= 0.02),
        ),
        Finding(
            "every input has its own number of tokens",
            "",
            f"behind the last place {last[0]:.1f} ± {last[1]:.1f} tokens over the test clips",
            verdict(last[1] > 0.5),
        ),
    ]


def _placement(heard: HeardWords, quick: bool) -> dict[str, Any]:
    """The staircase of a block here, and where tokens leave by the equal slope so that all blocks take `PART`."""
    network, train = heard.network, heard.clips.train
    assert isinstance(train, Batches)
    patches, width = network.pos.shape[1] - 1, network.pos.shape[2]
    counts = sorted({*(count for count in COUNTS if count <= patches), patches + 1})
    block = block_staircase(network.blocks[0], width, counts, HostDevice())
    number = len(network.blocks)
    whole = number * block.at(patches + 1)
    budget = TokenBudget(PART * whole, block, number, patches, dense=min(3, number - 1))
    key = f"spvit/losses{'-quick' if quick else ''}"
    losses = remembered(
        key,
        lambda: {
            str(place): lost for place, lost in token_losses(budget, network, [train.inputs[:50]]).items()
        },
    )
    placement = allocate_tokens(budget, {int(place): lost for place, lost in losses.items()})
    return {
        "tokens": list(block.counts),
        "microseconds": [1e6 * seconds for seconds in block.seconds],
        "dense_microseconds": 1e6 * whole,
        "limit_microseconds": 1e6 * budget.limit,
        "placed_microseconds": 1e6 * budget.seconds(placement),
        "placement": {str(place): share for place, share in placement.items()},
        "steps": _steps(block),
    }


def _steps(block: Staircase) -> int:
    """How often a block's time rises by more than a twentieth from one count to the next."""
    pairs = zip(block.seconds, block.seconds[1:], strict=False)
    return sum(after > 1.05 * before for before, after in pairs)


def _placing(placed: Mapping[str, Any]) -> list[Finding]:
    met = placed["placed_microseconds"] <= placed["limit_microseconds"]
    steps, counts = placed["steps"], len(placed["tokens"]) - 1
    return [
        Finding(
            "a block's latency is a staircase in the tokens, not a line",
            "",
            f"{steps} of {counts} steps of four tokens cost more than 5 %",
            verdict(0 < steps < 0.7 * counts),
            "one compiled block, one thread, measured here",
        ),
        Finding(
            "a placement meets a given latency",
            "",
            f"{placed['placed_microseconds']:.0f} of {placed['limit_microseconds']:.0f} µs allowed "
            f"({placed['dense_microseconds']:.0f} dense), by the table: {placed['placement']}",
            verdict(met),
        ),
    ]


def _test(heard: HeardWords) -> Batches:
    assert isinstance(heard.clips.held_out, Batches)
    return heard.clips.held_out


if __name__ == "__main__":
    sys.exit(main("spvit", __doc__, run))
