"""Lottery tickets or pruning and fine-tuning (arXiv 2102.11068): where training under a mask should start from.

A residual network is trained on small CIFAR-10 images at an adequate and at an insufficient learning rate, pruned by
magnitude, and trained as long again under the mask: from its trained weights (fine-tuning), from early ones
(rewinding), from the first ones (a lottery ticket), from fresh ones; and from trained ones under a random mask. How
far weights agree on which of them are large is measured beside it.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from papers.record import Check, Finding, main, verdict
from papers.small_images import Images, Recipe, clock, deployed_accuracy, fit, images, small_network
from papers.trials import ahead, beats, remembered, remembered_tensors, spread
from spokeshave.methods import (
    IterativeMagnitude,
    OneShot,
    Session,
    begin,
    find_masks,
    train_under,
    weight_correlation,
)
from spokeshave.methods.rewinding import Weights
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.ranking import density
from spokeshave.schemes.unstructured import Unstructured

SPARSITY = 0.8
RATES = {"adequate": 0.1, "insufficient": 0.01}
STARTS = {"fine-tuned": "trained", "rewound": "early", "ticket": "initial", "fresh": "random"}
CONTROLS = {"random mask": "trained", "ticket, twice as long": "initial"}  # at the adequate rate
FRACTION = 0.2  # of largest weights, for the correlation
PARTS = ("initial", "early", "trained", "masks")  # of `Weights`


@dataclass(frozen=True)
class Amount:
    """How much is run."""

    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 12
    samples: int = 10_000


QUICK = Amount((0,), 1, 500)


def plan(sparsity: float) -> Plan:
    """The same share of every layer but the first, as in the paper."""
    return Plan((Rule("stem.0", None), Rule("*", Unstructured(sparsity))))


@dataclass(frozen=True)
class Trial:
    """One dense training and what follows from its weights; what was trained is remembered under `key`."""

    images: Images
    recipe: Recipe
    seed: int
    key: str

    def run(self) -> dict[str, Any]:
        """Test accuracies of the compiled networks, and correlations."""
        network = small_network(self.images, self.seed)
        found = self._found(network)
        network.load_state_dict(found.trained)
        starts = STARTS | (CONTROLS if self.recipe.rate == RATES["adequate"] else {})
        return {
            "seed": self.seed,
            "rate": self.recipe.rate,
            "dense": deployed_accuracy(network, self.images),
            "correlation": weight_correlation(found.initial, found.trained, FRACTION),
            **{
                name: remembered(f"{self.key}-{name}", partial(self._again, network, found, name, start))
                for name, start in starts.items()
            },
        }

    def _found(self, network: nn.Module) -> Weights:
        """The dense training's weights and the mask."""

        def make() -> dict[str, Tensor]:
            found = find_masks(IterativeMagnitude(SPARSITY, early_epochs=1), network, plan, self._loop(1))
            return {
                f"{part}.{name}": tensor for part in PARTS for name, tensor in getattr(found, part).items()
            }

        tensors = remembered_tensors(self.key, make)
        return Weights(**{part: _under(f"{part}.", tensors) for part in PARTS})

    def _again(self, network: nn.Module, found: Weights, name: str, start: str) -> dict[str, float]:
        torch.manual_seed(self.seed + 200)  # of fresh weights
        found = self._shuffled(found) if name == "random mask" else found
        method = IterativeMagnitude(SPARSITY, start, early_epochs=1)
        train_under(found, method, network, plan, self._loop(2 if "twice" in name else 1, later=100))
        end, kept = network.state_dict(), found.masks
        origins = {"initial": found.initial, "trained": found.trained}
        return {
            "accuracy": deployed_accuracy(network, self.images, plan(SPARSITY)),
            "density": statistics.fmean(density(network.get_parameter(name)) for name in kept),
            **{
                f"correlation with {name}": weight_correlation(end, _masked(origin, kept), FRACTION)
                for name, origin in origins.items()
            },
        }

    def _loop(self, times: int, later: int = 0) -> Callable[[nn.Module, Session], None]:
        def loop(network: nn.Module, session: Session) -> None:
            recipe = replace(self.recipe, epochs=times * self.recipe.epochs)
            fit(network, self.images, recipe, self.seed + later, session)

        return loop

    def _shuffled(self, found: Weights) -> Weights:
        """The same number of weights in each layer, anywhere."""
        generator = torch.Generator().manual_seed(self.seed)
        masks = {
            name: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view(mask.shape)
            for name, mask in found.masks.items()
        }
        return replace(found, masks=masks)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}


def _masked(state: dict[str, Tensor], masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return state | {name: state[name] * mask for name, mask in masks.items()}


def timed(images: Images) -> dict[str, float]:
    """Where a mask comes from does not change its time: one network, dense and pruned."""
    dense, pruned = small_network(images, 0), small_network(images, 0)
    begin(OneShot(), pruned, plan(SPARSITY)).finish()
    return clock({"dense": (dense, None), "pruned": (pruned, plan(SPARSITY))}, images.example)


def run(quick: bool) -> Check:
    """All trials, those of earlier runs from the disk."""
    torch.set_num_threads(1)
    amount, found = QUICK if quick else Amount(), images()
    key = f"prune_and_finetune/{found.data.name}-{amount.epochs}x{amount.samples}"
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in RATES}
    for seed, (name, rate) in product(amount.seeds, RATES.items()):
        recipe = Recipe(amount.epochs, rate, samples=amount.samples)
        trial = Trial(found, recipe, seed, f"{key}-{name}-{seed}")
        records[name].append(remembered(f"{trial.key}-all", trial.run))
    microseconds = remembered(f"{key}-clock", lambda: timed(found))
    differences = (
        f"{found.about}, in place of ResNet-20, VGG-11 and MobileNet-V2 on CIFAR-10 and CIFAR-100",
        f"{amount.epochs} epochs of {amount.samples:,} images, not 150 of 50,000; activations in bfloat16",
        f"one-shot masks, {SPARSITY:.0%} sparsity",
        f"rewound to the end of epoch 1 of {amount.epochs}, not 10 of 150",
    )
    data = {"records": records, "microseconds": microseconds}
    return Check((*findings(records), _time(microseconds)), differences, amount.seeds, data)


def findings(records: dict[str, list[dict[str, Any]]]) -> list[Finding]:
    """The paper's orders, over seeds."""
    right, wrong = (_by_name(records[name]) for name in RATES)
    tickets, fresh = right["ticket"], right["fresh"]
    initial, trained = right["correlation with initial"], right["correlation with trained"]
    return [
        beats(
            "at the adequate rate fine-tuning beats rewinding",
            right,
            "fine-tuned",
            "rewound",
            note=f"at the insufficient rate {spread(wrong['fine-tuned'])} and {spread(wrong['rewound'])}",
        ),
        beats(
            "fine-tuning beats a ticket that is trained twice as long",
            right,
            "fine-tuned",
            "ticket, twice as long",
            note="a control of ours: fine-tuned weights have been trained twice as long as a ticket's; trainings this "
            "short gain much from being longer",
        ),
        beats("rewinding beats the lottery ticket there", right, "rewound", "ticket"),
        Finding(
            "a ticket is no better than fresh weights there",
            "",
            f"ticket {spread(tickets)}, fresh {spread(fresh)}",
            verdict(not ahead(tickets, fresh)),
            f"large weights still agree with the first ones at {spread(right['correlation'])}, above the "
            f"{FRACTION:.0%} of independent ones: by the paper's own reason a ticket then is better",
        ),
        beats("at the insufficient rate a ticket beats fresh weights", wrong, "ticket", "fresh"),
        beats(
            "a magnitude mask beats a random one",
            right,
            "fine-tuned",
            "random mask",
            note="a control of ours",
        ),
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
            "short training leaves more of the first weights",
        ),
        Finding(
            "fine-tuned weights are correlated with the trained ones, not with the first",
            "VGG-11, CIFAR-10, half pruned: 48.08 % and 20.21 %",
            f"{spread(trained)} and {spread(initial)}",
            verdict(ahead(trained, initial)),
        ),
    ]


def _by_name(trials: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Accuracies of every start, and what was measured of the dense network, by seed."""
    names = [name for name in trials[0] if name not in ("seed", "rate")]
    values = {name: [trial[name] for trial in trials] for name in names}
    parts = {n: [each["accuracy"] for each in v] if isinstance(v[0], dict) else v for n, v in values.items()}
    tuned = [trial["fine-tuned"] for trial in trials]
    return parts | {key: [each[key] for each in tuned] for key in tuned[0] if key.startswith("correlation")}


def _time(microseconds: dict[str, float]) -> Finding:
    dense, pruned = microseconds["dense"], microseconds["pruned"]
    return Finding(
        "the pruned network is faster",
        "",
        f"{pruned:.0f} µs an image against {dense:.0f} µs dense, both compiled",
        verdict(pruned < dense),
        "the paper has no device; all starts have the same time",
    )


if __name__ == "__main__":
    sys.exit(main("prune_and_finetune", __doc__, run))
