"""Lottery tickets or pruning and fine-tuning (arXiv 2102.11068): where training under a mask should start from.

A plain network is trained on small CIFAR-10 images at an adequate and at an insufficient learning rate, pruned to
several sparsities (one-shot, iteratively, by ADMM), and trained as long again under the masks: from its trained weights
(fine-tuning), from early ones (rewinding), from the first ones (a lottery ticket), from fresh ones; and from trained
ones under a random mask. How far weights agree on which of them are large is measured beside it.
"""

import statistics
import sys
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import nn

from papers.prune_and_finetune_trials import FRACTION, LEVELS, SPARSITIES, TWICE, Trial, cell, plan
from papers.record import Check, Finding, main, verdict
from papers.small_images import Images, Recipe, clock, images, plain_network
from papers.trials import ahead, remembered, spread
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan

RATES = {"adequate": 0.1, "insufficient": 0.01}
Values = dict[str, list[float]]  # accuracies of a cell, or of the dense network, by seed


@dataclass(frozen=True)
class Amount:
    """How much is run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 10
    samples: int = 6_400


QUICK, TESTED = Amount((0,), 1, 300), 500


def timed(images: Images, rounds: int) -> dict[str, float]:
    """Where a mask comes from does not change its time: one network, dense and pruned."""
    networks: dict[str, tuple[nn.Module, Plan | None]] = {"dense": (plain_network(images, 0), None)}
    for sparsity in SPARSITIES:
        network = plain_network(images, 0)
        begin(OneShot(), network, plan(sparsity)).finish()
        networks[f"{sparsity:.0%}"] = network, plan(sparsity)
    return clock(networks, images.example, rounds)


def run(quick: bool) -> Check:
    """All trials, those of earlier runs from the disk."""
    torch.set_num_threads(1)
    amount, found = QUICK if quick else Amount(), images(TESTED if quick else None)
    key = f"prune_and_finetune/{found.data.name}-{amount.epochs}x{amount.samples}"
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in RATES}
    for seed, (name, rate) in product(amount.seeds, RATES.items()):
        recipe = Recipe(amount.epochs, rate, samples=amount.samples)
        trial = Trial(found, recipe, seed, f"{key}-{name}-{seed}", name == "adequate")
        records[name].append(remembered(f"{trial.key}-all", trial.run))
    microseconds = remembered(f"{key}-clock", lambda: timed(found, 3 if quick else 31))
    differences = (
        f"{found.about}, a plain network of 61 thousand weights, in place of ResNet-20, VGG-11 and MobileNet-V2 on "
        "CIFAR-10 and CIFAR-100",
        f"{amount.epochs} epochs of {amount.samples:,} images, not 150 of 50,000; activations in bfloat16",
        f"iterative masks by {len(LEVELS)} rounds to {', '.join(f'{level:.0%}' for level in LEVELS)}; ADMM's by half a "
        "training more; starts are compared under one-shot masks",
        f"rewound to the end of epoch 1 of {amount.epochs}, not 10 of 150",
    )
    data = {"records": records, "microseconds": microseconds}
    return Check((*findings(records), _time(microseconds)), differences, amount.seeds, data)


def findings(records: dict[str, list[dict[str, Any]]]) -> list[Finding]:
    """The paper's orders, over seeds."""
    right, wrong = (by_name(records[name]) for name in RATES)
    return [
        *_of_starts(right, wrong),
        *_of_masks(right, [trial["alike"] for trial in records["adequate"]]),
        *_of_correlation(right, wrong, records["adequate"]),
    ]


def _of_starts(right: Values, wrong: Values) -> list[Finding]:
    most = SPARSITIES[-1]
    twice = cell(TWICE, "one-shot", most), cell("fine-tuned", "one-shot", most)
    best = max(
        (name for name in wrong if name.startswith("ticket")), key=lambda name: statistics.fmean(wrong[name])
    )
    return [
        order("at the adequate rate fine-tuning beats rewinding", right, "fine-tuned", "rewound"),
        order("rewinding beats the lottery ticket there", right, "rewound", "ticket"),
        no_better("a ticket is no better than fresh weights there", right, "ticket", "fresh"),
        order("at the insufficient rate a ticket beats fresh weights", wrong, "ticket", "fresh"),
        Finding(
            "no ticket of the insufficient rate reaches the dense network of the adequate one",
            "ResNet-20, CIFAR-10: at best 90.04 %, at 62 % sparsity, of 91.7 %",
            f"at best {spread(wrong[best])} of {spread(right['dense'])}",
            verdict(ahead(right["dense"], wrong[best])),
        ),
        Finding(
            "fine-tuning beats a ticket that is trained twice as long",
            "",
            f"at {most:.0%} fine-tuned {spread(right[twice[1]])}, {TWICE} {spread(right[twice[0]])}",
            verdict(ahead(right[twice[1]], right[twice[0]])),
            "fine-tuned weights have been trained twice as long as a ticket's",
            control=True,
        ),
        Finding(
            "a magnitude mask beats a random one",
            "",
            f"at {most:.0%} {spread(right[twice[1]])}, {spread(right[cell('fine-tuned', 'random', most)])}",
            verdict(ahead(right[twice[1]], right[cell("fine-tuned", "random", most)])),
            control=True,
        ),
    ]


def _of_masks(right: Values, alike: list[dict[str, float]]) -> list[Finding]:
    shared = {kind: spread([each[kind] for each in alike]) for kind in alike[0]}
    why = (
        f"of what is kept at {SPARSITIES[-1]:.0%} one-shot masks keep {shared['ADMM']} in ADMM's, "
        f"{shared['iterative']} in iterative ones: ADMM, with the settings of "
        "ClickTrain's check, hardly leaves the masks that it starts from"
    )
    tuned, up_to = "fine-tuned", [sparsity for sparsity in SPARSITIES if sparsity <= 0.7]
    reached = [right[cell(tuned, "iterative", sparsity)] for sparsity in up_to]
    return [
        order(
            "fine-tuned, ADMM's masks beat iterative ones", right, tuned, tuned, ("ADMM", "iterative"), why
        ),
        order("and iterative ones one-shot ones", right, tuned, tuned, ("iterative", "one-shot")),
        order(
            "of tickets too, iterative masks beat one-shot ones",
            right,
            "ticket",
            "ticket",
            ("iterative", "one-shot"),
        ),
        Finding(
            "fine-tuned under iterative masks up to 70 % sparsity costs no accuracy",
            "ResNet-20, CIFAR-10: at or above dense up to 70 %; with ADMM masks up to 80 %",
            ", ".join(f"at {s:.0%} {spread(values)}" for s, values in zip(up_to, reached, strict=True))
            + f", dense {spread(right['dense'])}",
            verdict(not any(ahead(right["dense"], values) for values in reached)),
            "fine-tuned weights have been trained twice as long as the dense network's, here and in the paper",
        ),
    ]


def _of_correlation(right: Values, wrong: Values, trials: list[dict[str, Any]]) -> list[Finding]:
    half = [trial["cells"][cell("fine-tuned", "ADMM", 0.5)] for trial in trials]
    initial, trained = (
        [each[f"correlation with {name}"] for each in half] for name in ("initial", "trained")
    )
    return [
        Finding(
            "the adequate rate trains the dense network better",
            "ResNet-20: 91.7 % at 0.1, 89.62 % at 0.01",
            f"{spread(right['dense'])} at 0.1, {spread(wrong['dense'])} at 0.01",
            verdict(ahead(right["dense"], wrong["dense"])),
        ),
        Finding(
            "trained weights stay correlated with the first ones at the insufficient rate, hardly at the other",
            f"about {FRACTION:.0%} at 0.1 (of independent weights), clearly above at 0.01",
            f"{spread(right['correlation'])} at 0.1, {spread(wrong['correlation'])} at 0.01",
            verdict(ahead(wrong["correlation"], right["correlation"])),
            "short training leaves more of the first weights: by the paper's own reason a ticket then is better than "
            "fresh weights at the adequate rate too",
        ),
        Finding(
            "fine-tuned weights are correlated with the trained ones, not with the first",
            "VGG-11, CIFAR-10, half pruned by ADMM: 48.08 % and 20.21 %",
            f"half pruned by ADMM: {spread(trained)} and {spread(initial)}",
            verdict(ahead(trained, initial)),
        ),
    ]


def order(
    claim: str,
    values: Values,
    one: str,
    other: str,
    masks: tuple[str, str] = ("one-shot", "one-shot"),
    why: str = "",
) -> Finding:
    """The finding that at every sparsity one start, or kind of mask, is `ahead` of another."""
    pairs = {s: (values[cell(one, masks[0], s)], values[cell(other, masks[1], s)]) for s in SPARSITIES}
    holds = [f"{sparsity:.0%}" for sparsity, pair in pairs.items() if ahead(*pair)]
    where = (
        "" if len(holds) == len(pairs) else f"it holds at {' and '.join(holds) or 'none of the sparsities'}"
    )
    note = "; ".join(filter(None, (where, why)))
    return Finding(claim, "", _measured(pairs), verdict(len(holds) == len(pairs)), note)


def no_better(claim: str, values: Values, one: str, other: str) -> Finding:
    """The finding that at no sparsity one start is `ahead` of another."""
    pairs = {s: (values[cell(one, "one-shot", s)], values[cell(other, "one-shot", s)]) for s in SPARSITIES}
    better = [f"{sparsity:.0%}" for sparsity, pair in pairs.items() if ahead(*pair)]
    return Finding(
        claim, "", _measured(pairs), verdict(not better), f"better at {' and '.join(better) or 'none'}"
    )


def _measured(pairs: dict[float, tuple[list[float], list[float]]]) -> str:
    return "; ".join(f"at {s:.0%} {spread(one)} against {spread(other)}" for s, (one, other) in pairs.items())


def by_name(trials: list[dict[str, Any]]) -> Values:
    """Accuracies of every cell, and what was measured of the dense network, by seed."""
    dense = {name: [trial[name] for trial in trials] for name in ("dense", "correlation")}
    return dense | {n: [trial["cells"][n]["accuracy"] for trial in trials] for n in trials[0]["cells"]}


def _time(microseconds: dict[str, float]) -> Finding:
    pruned = {name: value for name, value in microseconds.items() if name != "dense"}
    return Finding(
        "the pruned network is faster",
        "",
        ", ".join(f"{value:.0f} µs at {name}" for name, value in pruned.items())
        + f", {microseconds['dense']:.0f} µs dense, an image, compiled",
        verdict(max(pruned.values()) < microseconds["dense"]),
        "the paper has no device; all starts and masks have the same time",
        control=True,
    )


if __name__ == "__main__":
    sys.exit(main("prune_and_finetune", __doc__, run))
