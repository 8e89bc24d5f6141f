"""SPViT's check on a transformer of 49 patches, many of them background, compiled and timed.

    python -m papers.spvit_patches

Fine-tuned as in `papers/spvit.py`, into whose result it goes. What is trained stays in runs/papers.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict

from torch import nn

from papers.deployments import Store, store
from papers.mnist_transformer import trained
from papers.record import HERE, Finding, add, verdict
from papers.spvit import SEEDS, findings
from papers.token_times import input_times
from papers.token_trials import PACKAGE, Recipe, Subject
from spokeshave.compiler import compile_network
from spokeshave.data import Batches, Data

NAME = "49 patches"
RECIPE = Recipe(
    (1, 3), (0.45, 0.25), 4, 3, rate=2e-3, network_rate=3e-4, tokens=0.0, warm_steps=40, settling=1
)
IMAGES_A_PASS, TIMED_IMAGES, ROUNDS = 1_500, 20, 25
REASONS = {"accuracy": "", "order": "", "package": "", "overhead": ""}


def subject(kept: Store, network: nn.Module, data: Data, seed: int) -> Subject:
    """The transformer as it is fine-tuned with a seed."""
    return Subject(kept, "spvit/patches", network, data.shortened(IMAGES_A_PASS), RECIPE, seed)


def times(images: Subject) -> dict[str, float]:
    """Milliseconds of one image: the compiled dense network, and the one with selectors and packages."""
    test = images.data.held_out
    assert isinstance(test, Batches)
    reduced = images.fitted(PACKAGE, RECIPE.learned()).eval()
    both = [compile_network(each, test.inputs[:1]) for each in (images.dense.eval(), reduced)]
    return input_times({"dense": both[0]}, both[1], test.inputs[:TIMED_IMAGES], ROUNDS)


def speed(measured: Mapping[str, float]) -> list[Finding]:
    """What fewer tokens are worth once compiled."""
    faster = measured["dense"] / measured["mean"]
    return [
        Finding(
            f"{NAME}: compiled, one image at a time, 1.5 times as fast as the dense network",
            "",
            f"{faster:.2f} times: {1e3 * measured['mean']:.0f} µs on average, {1e3 * measured['tail']:.0f} at 95 %, of "
            f"{1e3 * measured['dense']:.0f}",
            verdict(faster >= 1.5),
            "float32, one thread, one interleaved run, processor time; the first seed's",
        ),
        Finding(
            f"{NAME}: selectors cost at most 2 % of the time",
            "",
            f"{measured['selectors']:.1%} of the compiled network's",
            verdict(measured["selectors"] <= 0.02),
            "many small operations beside six blocks of width 64",
        ),
    ]


def main() -> int:
    """Train, judge, compile, time, and write."""
    with store(False) as kept:
        network, data, about = trained(kept)
        subjects = [subject(kept, network, data, seed) for seed in SEEDS]
        trials = [each.trial() for each in subjects]
        measured = times(subjects[0])
    add(
        HERE / "results" / "spvit.json",
        f"{NAME}:",
        [*findings(NAME, trials, REASONS), *speed(measured)],
        NAME,
        {"about": about, "recipe": asdict(RECIPE), "trials": trials, "milliseconds": measured},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
