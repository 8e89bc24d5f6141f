"""ClickTrain (arXiv 2011.10170): patterns of 3x3 kernels, and kernels removed, during one normal training run.

A residual network on small CIFAR-10 images. Patterns are chosen when the learning rate has first dropped, by (w g)^2 of
one batch, drawn to zero by a group lasso, and cut after the second drop. Beside it, at the same density: patterns
by magnitude and at random, whole filters in the same three stages, and pruning after training (one-shot and ADMM),
which trains twice as long, or as long as one training.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from papers.record import Check, Finding, main, verdict
from papers.small_images import Images, Recipe, clock, deployed_accuracy, fit, images, small_network
from papers.trials import ahead, beats, remembered, spread
from spokeshave.criteria import Magnitude, Random
from spokeshave.measure import evaluate, interleave
from spokeshave.methods import ADMM, DuringTraining, MaskedFineTuning, OneShot, begin
from spokeshave.methods.during_training import CLICK_TRAIN
from spokeshave.methods.training import sgd
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.ranking import density
from spokeshave.schemes.whole_blocks import Blocks

DENSITY = 1 / 8  # of the pruned layers
PRUNED = (
    "blocks.*.conv?"  # not the first convolution, the 1x1 ones of shortcuts, the classifier; as in the paper
)
DROPS = (0.29, 0.685)  # of the learning rate: epochs 55 and 130 of 190
CHOOSE, CUT = 0.32, 0.75  # epochs 61 and 141 of 190
STRENGTHS = (1e-2, 3e-2, 1e-1)
LEFT = 0.02  # of any layer's norm, the most that may be in what goes when it is cut
SHORT = "one-shot in one training"  # half of it dense, half of it pruned
PATTERNS = Plan((Rule(PRUNED, Patterns(1 - DENSITY * 9 / 4)), Rule("*", None)))
DURING = ("ClickTrain", "by magnitude", "at random")


@dataclass(frozen=True)
class Amount:
    """How much is run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 12  # fewer would put the cut before the second drop of the learning rate
    samples: int = 5_000

    @property
    def recipe(self) -> Recipe:
        """One normal training."""
        return Recipe(self.epochs, drops=DROPS, samples=self.samples)

    def times(self, factor: float) -> "Amount":
        """As many times the epochs."""
        return replace(self, epochs=round(factor * self.epochs))


QUICK, TESTED = Amount((0,), 4, 200), 500


def filters(network: nn.Module) -> Plan:
    """Whole filters of the first convolution of each block; the second then loses the inputs."""
    weights = {name: weight for name, weight in network.named_parameters() if name.endswith("conv1.weight")}
    rules = (Rule(n, Blocks(1 - DENSITY, (1, w[0].numel()))) for n, w in weights.items())
    return Plan((*rules, Rule("*", None)))


@torch.no_grad()
def silence(network: nn.Module) -> None:
    """Take filters of zeros out altogether: what their batch norm adds, and the weights that read them."""
    block: Any
    for block in network.get_submodule("blocks").children():
        dead = ~block.conv1.weight.flatten(1).any(1)
        for values in (block.bn1.weight, block.bn1.bias, block.conv2.weight.transpose(0, 1)):
            values[dead] = 0


def during(images: Images, amount: Amount, seed: int, strength: float, name: str) -> dict[str, Any]:
    """One training run in three stages."""
    network = small_network(images, seed)
    choose, cut = (max(1, round(part * amount.epochs)) for part in (CHOOSE, CUT))
    batch = [next(iter(images.data.batched(128).train))]
    criteria = {"by magnitude": Magnitude(), "at random": Random(seed)}
    criterion = criteria.get(name, CLICK_TRAIN)
    plan = filters(network) if name == "filters" else PATTERNS
    session = begin(DuringTraining(batch, choose, cut, strength, criterion), network, plan)
    left: list[float] = []

    def watch(done: int, steps: int) -> None:
        if name == "filters":
            silence(network)
        if done * amount.epochs == cut * steps:  # the last step before the cut
            left.append(max(session.residuals().values()))

    fit(network, images, amount.recipe, seed, session, on_step=watch)
    session.finish()
    return measured(network, images, plan, amount.epochs) | {"left_before_cut": left[0]}


def after(images: Images, amount: Amount, seed: int, names: Sequence[str]) -> dict[str, Any]:
    """A dense network, and what becomes of it by pruning after training: as many epochs again."""
    dense = small_network(images, seed)
    fit(dense, images, amount.recipe, seed)
    found = {"dense": {"accuracy": deployed_accuracy(dense, images), "epochs": amount.epochs}}
    for name in names:
        network = small_network(images, seed)
        network.load_state_dict(dense.state_dict())
        part = replace(amount.recipe, epochs=amount.epochs // 2)
        method = OneShot() if name == "one-shot" else ADMM(update_steps=max(1, 20 * amount.samples // 5_000))
        session = begin(method, network, PATTERNS)
        if name == "ADMM":
            fit(network, images, replace(part, rate=0.01, drops=()), seed + 100, session)
        session.finish()
        masked = begin(MaskedFineTuning(), network, PATTERNS)
        fit(network, images, amount.recipe if name == "one-shot" else part, seed + 200, masked)
        masked.finish()
        found[name] = measured(network, images, PATTERNS, 2 * amount.epochs)
    return found


def measured(network: nn.Module, images: Images, plan: Plan, epochs: int) -> dict[str, Any]:
    """Accuracy of the compiled network, and after how many epochs of training in all."""
    weights = [w for name, w in network.named_parameters() if name.startswith("blocks") and "conv" in name]
    kept = sum(density(weight) * weight.numel() for weight in weights)
    dead = sum(int((~weight.flatten(1).any(1)).sum()) for weight in weights)
    return {
        "accuracy": deployed_accuracy(network, images, plan),
        "held_back": evaluate(network, images.held_back).top1,
        "density": kept / sum(weight.numel() for weight in weights),
        "dead_filters": dead,
        "epochs": epochs,
    }


def chosen_strength(images: Images, amount: Amount) -> dict[str, Any]:
    """The weakest group lasso that leaves little to cut, or the strongest, by a seed of its own."""
    tried: dict[str, Any] = {}
    for strength in STRENGTHS:
        tried[str(strength)] = during(images, amount, 1000, strength, "ClickTrain")
        if tried[str(strength)]["left_before_cut"] <= LEFT:
            break
    return {"tried": tried, "strength": float(list(tried)[-1])}


def trial(images: Images, amount: Amount, strength: float, seed: int, key: str) -> dict[str, Any]:
    """Everything for one seed; every training is remembered under `key`."""
    found = {
        name: remembered(f"{key}-{name}", partial(during, images, amount, seed, strength, name))
        for name in (*DURING, "filters")
    }
    half = remembered(f"{key}-half", partial(after, images, amount.times(0.5), seed, ["one-shot"]))
    found[SHORT] = half["one-shot"]
    return found | remembered(f"{key}-after", partial(after, images, amount, seed, ["one-shot", "ADMM"]))


def timed(images: Images, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds of an image in the compiled networks, and milliseconds of a step of training, side by side."""
    plans = {"dense": None, "patterns": PATTERNS, "filters": filters(small_network(images, 0))}
    networks = {name: small_network(images, 0) for name in plans}
    for name, plan in plans.items():
        if plan is not None:
            begin(OneShot(), networks[name], plan).finish()
    silence(networks["filters"])
    steps = {name: partial(step, images, method) for name, method in (("dense", None), ("ADMM", ADMM()))}
    steps["group lasso"] = partial(step, images, DuringTraining([next(iter(images.test))], 0, 1))
    run = interleave({name: make() for name, make in steps.items()}, rounds, slot_seconds=0.2)
    return {
        "microseconds": clock(
            {name: (networks[name], plan) for name, plan in plans.items()}, images.example, 2 * rounds + 1
        ),
        "training_milliseconds": {name: 1e3 * run.timing(name).median_seconds for name in steps},
    }


def step(images: Images, method: Any) -> Callable[[], None]:
    """One step of training under a method."""
    network, (inputs, labels) = small_network(images, 0).train(), next(iter(images.data.batched(64).train))
    session, optimizer = method and begin(method, network, PATTERNS), sgd(network, 0.0)

    def once() -> None:
        loss = F.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        (loss + session.penalty() if session else loss).backward()
        optimizer.step()
        if session:
            session.after_step()

    return once


def run(quick: bool) -> Check:
    """All trials, those of earlier runs from the disk."""
    torch.set_num_threads(1)
    amount, found = QUICK if quick else Amount(), images(TESTED if quick else None)
    key = f"clicktrain/{found.data.name}-{amount.epochs}x{amount.samples}"
    choice = remembered(f"{key}-strength", lambda: chosen_strength(found, amount))
    strength = choice["strength"]
    trials = [trial(found, amount, strength, seed, f"{key}-{seed}") for seed in amount.seeds]
    times = remembered(f"{key}-clock", lambda: timed(found, 3 if quick else 15))
    differences = (
        f"{found.about}, a residual network of 78 thousand weights, in place of VGG-11, VGG-13 and ResNet-50",
        f"{amount.epochs} epochs of {amount.samples:,} images, not 190 of 50,000; activations in bfloat16",
        "no mixup in the third stage, for anybody",
        f"the same kernels removed in every layer; group lasso of {strength:g}, the weakest of those tried that left "
        f"{LEFT:.1%} of a layer's norm at most, or the strongest, by a seed of its own",
    )
    data = {"trials": trials, "strength": choice, "times": times}
    return Check(tuple(findings(trials, times)), differences, amount.seeds, data)


def findings(trials: list[dict[str, Any]], times: dict[str, dict[str, float]]) -> list[Finding]:
    """The paper's claims, over seeds."""
    values = {name: [each[name]["accuracy"] for each in trials] for name in trials[0]}
    steps, clocked = times["training_milliseconds"], times["microseconds"]
    extra = (CUT - CHOOSE) * (steps["group lasso"] / steps["dense"] - 1)
    later = 1.5 + 0.5 * steps["ADMM"] / steps["dense"]
    left = {name: spread([each[name]["left_before_cut"] for each in trials]) for name in DURING}
    best = max(("one-shot", "ADMM"), key=lambda name: sum(values[name]))
    return [
        Finding(
            "pruning during training is as accurate as pruning after it, which trains twice as long",
            "",
            ", ".join(
                f"{name} {spread(values[name])}" for name in ("ClickTrain", "one-shot", "ADMM", "dense")
            ),
            verdict(not ahead(values[best], values["ClickTrain"])),
            f"before the cut up to {left['ClickTrain']} of a layer's norm is in what goes (the paper trains "
            "16 times as long)",
        ),
        beats(
            "in the cost of one training it keeps more than half a training dense and half pruned",
            values,
            "ClickTrain",
            SHORT,
            control=True,
        ),
        Finding(
            "it takes a fraction of the time",
            "time cut by up to 67 %, or up to 2.3x",
            f"{later / (1 + extra):.2f}x: {1 + extra:.2f} trainings of a dense network against {later:.2f} (ADMM)",
            verdict(later / (1 + extra) > 1.5),
            "epochs chosen here, so a figure of the recipe as much as of the method",
        ),
        Finding(
            "it takes no longer than training a dense network",
            "no extra time",
            f"{extra:+.0%}: {steps['group lasso']:.1f} ms a step with the group lasso, {steps['dense']:.1f} ms without",
            verdict(extra < 0.05),
        ),
        beats(
            "(w g)^2 chooses better than magnitude",
            values,
            "ClickTrain",
            "by magnitude",
            note=f"at the cut what (w g)^2 chose still holds {left['ClickTrain']} of a layer's norm at most, what "
            f"magnitude chose {left['by magnitude']}, what chance chose {left['at random']}",
        ),
        beats("it chooses better than chance", values, "ClickTrain", "at random", control=True),
        beats(
            "patterns lose less than whole filters",
            values,
            "ClickTrain",
            "filters",
            "drop smaller by up to 2.1 points than PruneTrain's",
            f"filters in the same three stages, at the same density, {DENSITY:.1%}",
        ),
        Finding(
            "patterns are faster than the dense network",
            "",
            ", ".join(f"{name} {value:.0f} µs" for name, value in clocked.items()) + ", compiled, an image",
            verdict(clocked["patterns"] < clocked["dense"]),
        ),
    ]


if __name__ == "__main__":
    sys.exit(main("clicktrain", __doc__, run))
