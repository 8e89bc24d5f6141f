"""Further part of SPViT's and HeatViT's checks: a selector in a DeiT-tiny, which MNIST's digits were taught.

    python -m papers.spvit_deit --prepare && python -m papers.spvit_deit

The network is the papers' own smallest (`papers/deit_tiny_mnist.py`); most of its 100 patches are empty. It is
fine-tuned with a selector and a package as in `spvit`, and with class attention, random tokens and as it is, all for as
many images. What is trained is compiled in float32 and in 8 bits and judged by its deployments; single images are timed
in one interleaved run. Settings were chosen by 1,000 test images that judge nothing. What is found goes into
`spvit.json`; what was trained stays in runs/papers, and with `--prepare` nothing is timed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from papers.deit_tiny_mnist import deit_tiny_mnist
from papers.deployments import Store
from papers.record import HERE, Finding, add, verdict
from papers.spvit import findings
from papers.token_times import input_times
from papers.token_trials import PACKAGE, Recipe, Subject
from papers.trials import RUNS, remembered, spread, within
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.data import Data
from spokeshave.measure import evaluate

NAME = "DeiT-tiny"
BEGINS = f"{NAME}: "
SEEDS = (0, 1, 2)
IMAGES = 12_800
RECIPE = Recipe(
    places=(3,),
    keep=(0.4,),
    heads=3,
    epochs=1,
    network_rate=2e-3,
    tokens=0.0,
    warm_steps=400,
    warm_samples=2_000,
    taught_from=8,
    narrow=True,
    dither=1.0,
    gathered=True,
    relative=True,
    bfloat16=True,
)
DENSE, REDUCED = "dense", "reduced"
FORMS: Mapping[str, str] = {"float32": "", "int8": " in 8 bits"}
TIMED_IMAGES, ROUNDS = 30, 25
REASONS = {"accuracy": "", "order": "", "package": "", "overhead": ""}


def subject(network: nn.Module, data: Data, seed: int) -> Subject:
    """What a seed fine-tunes."""
    return Subject(Store(RUNS), "spvit/deit_tiny", network, data.shortened(IMAGES), RECIPE, seed)


def seen(data: Data, count: int) -> Tensor:
    """The first held-out images, as networks see them."""
    images: Tensor = next(iter(data.held_out))[0]
    return images[:count]


def compiled(network: nn.Module, data: Data, precision: str) -> NativeDeployment:
    """In float32, or in 8 bits calibrated by training images."""
    torch.manual_seed(0)  # of the training images that are drawn
    calibration = [inputs for inputs, _ in islice(data.train, 4)] if precision == "int8" else None
    return compile_network(network.eval(), seen(data, 1), precision=precision, calibration=calibration)


def judged(one: Subject) -> dict[str, float]:
    """Accuracy of the deployments, with selectors and dense, in both precisions."""
    networks = {DENSE: one.dense, REDUCED: one.fitted(PACKAGE, RECIPE.learned())}
    return {
        f"{kind}{told}": evaluate(compiled(network, one.data, precision), one.data.held_out).top1
        for kind, network in networks.items()
        for precision, told in FORMS.items()
    }


def timed(one: Subject) -> dict[str, dict[str, float]]:
    """By precision of the network with selectors: milliseconds of an image, dense and with its own tokens."""
    network, images = one.fitted(PACKAGE, RECIPE.learned()), seen(one.data, TIMED_IMAGES)
    dense = {f"{DENSE}{told}": compiled(one.dense, one.data, precision) for precision, told in FORMS.items()}
    return {
        precision: input_times(dense, compiled(network, one.data, precision), images, ROUNDS)
        for precision in FORMS
    }


def clock_findings(accuracies: Sequence[Mapping[str, float]], times: Mapping[str, Any]) -> list[Finding]:
    """What the clock says of the deployments, and what they lose."""
    values = {name: [each[name] for each in accuracies] for name in accuracies[0]}
    single, eight = times["float32"], times["int8"]
    faster, combined = single[DENSE] / single["mean"], eight[DENSE] / eight["mean"]
    reduced, dense = (f"{kind}{FORMS['int8']}" for kind in (REDUCED, DENSE))
    note = "float32, batch of one, one thread, processor time of interleaved runs; first seed"
    return [
        Finding(
            f"{BEGINS}an image takes at most two thirds of the compiled dense network's time",
            "",
            f"{faster:.2f} times as fast: {single['mean']:.2f} of {single[DENSE]:.2f} ms, {single['tail']:.2f} at 95 %",
            verdict(faster >= 1.5),
            note,
        ),
        Finding(
            f"{BEGINS}selectors cost at most 2 % of the time",
            "",
            f"{single['selectors']:.1%} in float32, {eight['selectors']:.1%} in 8 bits",
            verdict(single["selectors"] <= 0.02),
            "judged in float32; selection and packages included",
        ),
        Finding(
            f"{BEGINS}selectors and 8 bits together: 3 times as fast as the dense float32 network, within a point",
            "3.46 to 4.89 times its own dense accelerator",
            f"{combined:.2f} times ({eight[DENSE] / eight[dense]:.2f} by 8 bits alone), "
            f"{spread(values[reduced])} against {spread(values[DENSE])}",
            verdict(combined >= 3 and within(values[reduced], values[DENSE], 0.01)),
            "HeatViT's claim, on this CPU; its polynomials left out; within: shown over seeds",
        ),
    ]


def main() -> int:
    """Train what is missing, time, and put what is found into the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--prepare", action="store_true", help="train and judge what is missing; time nothing"
    )
    parser.add_argument("--seed", type=int, action="append", help="otherwise " + ", ".join(map(str, SEEDS)))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network, data = deit_tiny_mnist()
    seeds = tuple(arguments.seed or SEEDS)
    subjects = [subject(network, data, seed) for seed in seeds]
    trials = [one.trial(without_packages=False) for one in subjects]
    accuracies = [
        remembered(f"spvit/deit_tiny-deployed-{one.seed}", partial(judged, one)) for one in subjects
    ]
    if arguments.prepare:
        return 0
    times = remembered("spvit/deit_tiny-latency", partial(timed, subjects[0]))
    found = [*findings(NAME, trials, REASONS), *clock_findings(accuracies, times)]
    figures = {
        "recipe": asdict(RECIPE),
        "images": IMAGES,
        "seeds": seeds,
        "trials": trials,
        "deployed": accuracies,
        "milliseconds": times,
    }
    add(HERE / "results" / "spvit.json", BEGINS, found, "deit_tiny", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
