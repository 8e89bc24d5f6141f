"""What the checks of recurrent schemes share: networks on speech, pruned, compiled and judged by their frames."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import nn

from papers.deployments import Store, Trial
from papers.masks import Steps
from papers.pruning import QUICK, Training, at_random, by_admm, plan_of, realised_density, trained, trained_on
from papers.speech import Recognizer, Speech, frame_accuracy, frame_loss, speech
from papers.trials import ahead
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.plan import Plan

ROUNDS = 101  # of an interleaved run, of many calls each
LOSS = 0.01  # of the frames, one point of accuracy: where a scheme's rate is read off


@dataclass(frozen=True)
class Subject:
    """The recurrent network that is pruned: every input and recurrent matrix of it, its head stays dense."""

    kind: str
    hidden: int
    layers: int = 1


@dataclass(frozen=True)
class Study:
    """Data, training and seeds of a check."""

    store: Store
    speech: Speech
    training: Training
    seeds: tuple[int, ...]

    def dense(self, subject: Subject, seed: int) -> nn.Module:
        """The trained dense network."""
        torch.manual_seed(seed)
        fresh = self._fresh(subject)
        settings = (subject, self.training, self.speech.about, self.speech.training.samples, seed)
        data, training = self.speech.data(), self.training
        return self.store.checkpoint(
            f"{subject.kind}-{seed}",
            settings,
            fresh,
            lambda network: trained(network, data, training.dense, training.rate, seed, loss=frame_loss),
        )

    def plans(self, subject: Subject, steps: Steps) -> list[Plan]:
        """A plan for each step."""
        fresh = self._fresh(subject)
        return [plan_of(fresh, pruned_names(fresh), step) for step in steps]

    def network(
        self, subject: Subject, label: str, steps: Steps, seed: int, random: bool = False
    ) -> nn.Module:
        """The network in the last step's schemes by ADMM, or at random.

        Without steps it is dense, trained as long if that makes it better on held-back data: it may overfit by then.
        """
        plans, data = self.plans(subject, steps), self.speech.data()

        def prune(network: nn.Module) -> None:
            if not plans:
                self._train_on(network, seed)
            elif random:
                at_random(network, data, plans[-1], self.training, seed, frame_loss)
            else:
                by_admm(network, data, plans, self.training, seed, frame_loss)

        settings = self.settings(subject, plans, random, seed)
        return self.store.checkpoint(_name(subject, label, seed), settings, self.dense(subject, seed), prune)

    def trial(self, subject: Subject, label: str, steps: Steps, seed: int, random: bool = False) -> Trial:
        """That network, compiled and judged."""
        plans = self.plans(subject, steps)
        plan = plans[-1] if plans else None

        def judge() -> tuple[dict[str, Any], NativeDeployment]:
            network = self.network(subject, label, steps, seed, random)
            deployment = compile_network(network, self.speech.example, plan)
            names = pruned_names(network)
            return {
                "kind": subject.kind,
                "scheme": label,
                "seed": seed,
                "density": realised_density(network, names),
                "weights": sum(network.get_parameter(name).numel() for name in names),
                "held_back": frame_accuracy(deployment, self.speech.held_back),
                "test": frame_accuracy(deployment, self.speech.test),
                "packed_bytes": packed_bytes(network, plan),
                "weight_bytes": deployment.manifest.weight_bytes,
            }, deployment

        settings = self.settings(subject, plans, random, seed)
        return self.store.trial(_name(subject, label, seed), settings, judge)

    def trials(self, subject: Subject, label: str, steps: Steps, random: bool = False) -> list[Trial]:
        """The same for every seed."""
        return [self.trial(subject, label, steps, seed, random) for seed in self.seeds]

    def _train_on(self, network: nn.Module, seed: int) -> None:
        longer = copy.deepcopy(network)
        trained_on(longer, self.speech.data(), self.training, seed, frame_loss)
        before, after = (frame_accuracy(one.eval(), self.speech.held_back) for one in (network, longer))
        if after > before:
            network.load_state_dict(longer.state_dict())

    def _fresh(self, subject: Subject) -> nn.Module:
        features = self.speech.training.inputs.shape[2]
        return Recognizer(subject.kind, features, subject.hidden, subject.layers, self.speech.classes)

    def settings(self, subject: Subject, plans: list[Plan], random: bool, seed: int) -> tuple[Any, ...]:
        """Everything that decides how a network comes out."""
        speech = self.speech
        return subject, self.training, speech.about, speech.training.samples, plans, random, seed


def _name(subject: Subject, label: str, seed: int) -> str:
    return f"{subject.kind}-{label}-{seed}".replace(" ", "_")


def pruned_names(network: nn.Module) -> list[str]:
    """The input and recurrent matrices, which are pruned."""
    return [name for name, _ in network.named_parameters() if name.startswith("layers.weight")]


def study(store: Store, quick: bool) -> Study:
    """The whole check, or a handful of chunks and one seed."""
    sounds = speech()
    if not quick:
        return Study(store, sounds, Training(), (0, 1, 2))
    parts = {name: replace(getattr(sounds, name), per_pass=16) for name in ("training", "held_back", "test")}
    return Study(store, replace(sounds, **parts), QUICK, (0,))


def packed_bytes(network: nn.Module, plan: Plan | None) -> int:
    """What the planned weights take in their schemes' packed form."""
    schemes = plan.resolve(network).items() if plan is not None else ()
    return sum(scheme.pack(network.get_parameter(name).detach()).nbytes for name, scheme in schemes)


def judged(records: Sequence[dict[str, Any]], key: str) -> dict[str, list[float]]:
    """What every scheme got under `key`, seed by seed."""
    found: dict[str, list[float]] = {}
    for record in records:
        found.setdefault(record["scheme"], []).append(record[key])
    return found


def per_step(times: dict[str, Any], steps: int) -> dict[str, float]:
    """Microseconds of one step: a call's time over its steps."""
    return {label: round(found["milliseconds"] * 1e3 / steps, 3) for label, found in times.items()}


def in_order(values: Sequence[Sequence[float]]) -> bool:
    """Whether none is `ahead` of the one before it, and the first is ahead of the last; accuracies by seed.

    >>> in_order([[0.9, 0.8], [0.91, 0.8], [0.7, 0.6]])
    True
    >>> in_order([[0.9, 0.8], [0.7, 0.6], [0.8, 0.7]])
    False
    """
    return ahead(values[0], values[-1]) and not any(
        ahead(after, before) for before, after in pairwise(values)
    )


def densities(records: Sequence[dict[str, Any]], rate: str) -> str:
    """The least and the largest realised density of what is compared at a rate.

    >>> densities([{"scheme": "rows 4x", "density": 0.25}, {"scheme": "CSB 4x", "density": 0.2475}], "4x")
    'realised densities 24.75 % to 25.00 %'
    """
    found = [record["density"] for record in records if record["scheme"].endswith(f" {rate}")]
    return f"realised densities {100 * min(found):.2f} % to {100 * max(found):.2f} %"


def borne(records: list[dict[str, Any]]) -> dict[str, float]:
    """By scheme: the rate at which its mean test accuracy is `LOSS` below the dense network's."""
    accuracies, realised = judged(records, "test"), judged(records, "density")
    least = fmean(accuracies["dense"]) - LOSS
    curves: dict[str, list[tuple[float, float]]] = {}
    for label, values in accuracies.items():
        if label != "dense":
            name = label.rpartition(" ")[0]
            curves.setdefault(name, [(1.0, fmean(accuracies["dense"]))])
            curves[name].append((1 / fmean(realised[label]), fmean(values)))
    return {name: round(crossing(curve, least), 2) for name, curve in curves.items()}


def crossing(curve: list[tuple[float, float]], least: float) -> float:
    """The rate at which a curve of (rate, accuracy) first falls below `least`, linear in the rate's logarithm.

    >>> round(crossing([(1, 0.9), (4, 0.8), (16, 0.6)], 0.7), 3)
    8.0
    """
    for (rate, accuracy), (next_rate, next_accuracy) in pairwise(curve):
        if next_accuracy < least:
            share = (accuracy - least) / (accuracy - next_accuracy)
            return float(rate * (next_rate / rate) ** share)
    return curve[-1][0]
