"""Further part of SPViT's and HeatViT's checks: a selector in a DeiT-tiny, for MNIST's digits and for Tiny-ImageNet-50.

    python -m papers.spvit_deit --prepare && python -m papers.spvit_deit

The network is the papers' own smallest, which was taught with patches missing (`papers/deit_tiny*.py`), of 100 patches.
It is fine-tuned with a selector and a package, with class attention, with random tokens and as it is, all for as many
images. The selector is taught apart, by the class attention of the last blocks, and stays as it is. What is trained is
compiled in float32 and in 8 bits and judged by its deployments; single images are timed in one interleaved run.
Settings were chosen by images that judge nothing. What is found goes into `spvit.json`; what was trained stays in
runs/papers, and with `--prepare` nothing is timed.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from papers.deit_tiny import deit_tiny_missing_patches
from papers.deit_tiny_mnist import deit_tiny_mnist
from papers.deployments import Store
from papers.record import HERE, Finding, add, verdict
from papers.selector_training import Recipe
from papers.spvit import findings
from papers.token_times import input_times
from papers.token_trials import PACKAGE, Subject
from papers.trials import RUNS, remembered, spread, within
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.data import Batches, Data
from spokeshave.measure import evaluate

BEGINS = "DeiT-tiny"
SEEDS = (0, 1, 2)
DENSE, REDUCED = "dense", "reduced"
FORMS: Mapping[str, str] = {"float32": "", "int8": " in 8 bits"}
TIMED_IMAGES, ROUNDS = 30, 25
FOR_CHOICES = 4  # every so many images of Tiny-ImageNet chose, the others judge
RECIPE = Recipe(
    places=(3,),
    keep=(0.42,),
    heads=3,
    epochs=1,
    tokens=0.0,
    warm_steps=400,
    warm_samples=2_000,
    taught_from=8,
    narrow=True,
    gathered=True,
    relative=True,
    bfloat16=True,
)


@dataclass(frozen=True)
class Task:
    """What the DeiT-tiny was taught, how it is fine-tuned for how many images, and what was looked into."""

    name: str
    made: Callable[[], tuple[nn.Module, Data]]
    recipe: Recipe
    images: int
    reasons: Mapping[str, str]

    @property
    def title(self) -> str:
        """What its claims begin with."""
        return f"{BEGINS}, {self.name}"

    @property
    def key(self) -> str:
        """What its files in runs/papers begin with."""
        return f"spvit/deit_tiny-{self.name}"

    def subjects(self, seeds: Sequence[int]) -> list[Subject]:
        """What each seed fine-tunes."""
        network, data = self.made()
        shorter = data.shortened(self.images)
        return [Subject(Store(RUNS), self.key, network, shorter, self.recipe, seed) for seed in seeds]


def photographs() -> tuple[nn.Module, Data]:
    """The DeiT-tiny of Tiny-ImageNet-50, whose images that chose are left out."""
    network, data = deit_tiny_missing_patches()
    held = data.held_out
    assert isinstance(held, Batches)
    judging = torch.arange(len(held.labels)) % FOR_CHOICES != 0
    return network, replace(
        data, held_out=replace(held, inputs=held.inputs[judging], labels=held.labels[judging])
    )


TASKS = {
    task.name: task
    for task in (
        Task(
            "digits",
            deit_tiny_mnist,
            replace(RECIPE, network_rate=1.5e-3),
            2_400,
            {
                "accuracy": "before it was trained on, for as long as the others, the dense network had 98.8 %",
                "order": "strokes are what the class token attends to at block 3 already; on the images that choose, "
                "with 59 % fewer multiply-adds, class attention came to 97.9 %, a selector trained with the network "
                "by Gumbel noise to 95.3 % (one trial, 6,400 images)",
                "package": "",
                "overhead": "",
            },
        ),
        Task(
            "Tiny-ImageNet-50",
            photographs,
            replace(RECIPE, dither=2.0, network_rate=5e-4),
            4_800,
            {
                "accuracy": "42 of 100 patches hold no more than a smaller image does (77.3 % at 112 x 112, 49 "
                "patches); with larger images and four times the fine-tuning (192 x 192, 20,000) the images that "
                "choose gave 76.3 of 81.6 % (one trial)",
                "order": "",
                "package": "",
                "overhead": "",
            },
        ),
    )
}


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
    networks = {DENSE: one.dense, REDUCED: one.fitted(PACKAGE, one.recipe.learned())}
    return {
        f"{kind}{told}": evaluate(compiled(network, one.data, precision), one.data.held_out).top1
        for kind, network in networks.items()
        for precision, told in FORMS.items()
    }


def timed(one: Subject) -> dict[str, dict[str, float]]:
    """By precision of the network with selectors: milliseconds of an image, dense and with its own tokens."""
    network, images = one.fitted(PACKAGE, one.recipe.learned()), seen(one.data, TIMED_IMAGES)
    dense = {f"{DENSE}{told}": compiled(one.dense, one.data, precision) for precision, told in FORMS.items()}
    return {
        precision: input_times(dense, compiled(network, one.data, precision), images, ROUNDS)
        for precision in FORMS
    }


def clock_findings(
    title: str, accuracies: Sequence[Mapping[str, float]], times: Mapping[str, Any]
) -> list[Finding]:
    """What the clock says of the deployments, and what they lose."""
    values = {name: [each[name] for each in accuracies] for name in accuracies[0]}
    single, eight = times["float32"], times["int8"]
    faster, combined = single[DENSE] / single["mean"], eight[DENSE] / eight["mean"]
    reduced, dense = (f"{kind}{FORMS['int8']}" for kind in (REDUCED, DENSE))
    note = "float32, batch of one, one thread, processor time of interleaved runs; first seed"
    return [
        Finding(
            f"{title}: an image takes at most two thirds of the compiled dense network's time",
            "",
            f"{faster:.2f} times as fast: {single['mean']:.2f} of {single[DENSE]:.2f} ms, {single['tail']:.2f} at 95 %",
            verdict(faster >= 1.5),
            note,
        ),
        Finding(
            f"{title}: selectors cost at most 2 % of the time",
            "",
            f"{single['selectors']:.1%} in float32, {eight['selectors']:.1%} in 8 bits",
            verdict(single["selectors"] <= 0.02),
            "judged in float32; selection and packages included",
        ),
        Finding(
            f"{title}: selectors and 8 bits together: 3 times as fast as the dense float32 network, within a point",
            "3.46 to 4.89 times its own dense accelerator",
            f"{combined:.2f} times ({eight[DENSE] / eight[dense]:.2f} by 8 bits alone), "
            f"{spread(values[reduced])} against {spread(values[DENSE])}",
            verdict(combined >= 3 and within(values[reduced], values[DENSE], 0.01)),
            "HeatViT's claim, on this CPU; its polynomials left out; within: shown over seeds",
        ),
    ]


def prepared(task: Task, seeds: Sequence[int]) -> dict[str, Any]:
    """What is found without a clock, trained where it is missing."""
    subjects = task.subjects(seeds)
    return {
        "recipe": asdict(task.recipe),
        "images": task.images,
        "seeds": seeds,
        "trials": [one.trial(without_packages=False) for one in subjects],
        "deployed": [remembered(f"{task.key}-deployed-{one.seed}", partial(judged, one)) for one in subjects],
    }


def main() -> int:
    """Train what is missing, time, and put what is found into the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--prepare", action="store_true", help="train and judge what is missing; time nothing"
    )
    parser.add_argument("--task", choices=TASKS, help="to prepare; otherwise all")
    arguments = parser.parse_args()
    if arguments.task and not arguments.prepare:
        parser.error("--task is of --prepare: a record has all tasks")
    torch.set_num_threads(1)
    tasks = [TASKS[arguments.task]] if arguments.task else list(TASKS.values())
    figures = {task.name: prepared(task, SEEDS) for task in tasks}
    if arguments.prepare:
        return 0
    for task in tasks:
        first = task.subjects(SEEDS[:1])[0]
        figures[task.name]["milliseconds"] = remembered(f"{task.key}-latency", partial(timed, first))
    found = judgements(figures)
    add(HERE / "results" / "spvit.json", BEGINS, found, "deit_tiny", {"tasks": figures})
    return 0


def judgements(figures: Mapping[str, Any]) -> list[Finding]:
    """All claims about all tasks."""
    return [
        one
        for name, own in figures.items()
        for one in (
            *findings(TASKS[name].title, own["trials"], TASKS[name].reasons),
            *clock_findings(TASKS[name].title, own["deployed"], own["milliseconds"]),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
