"""What is trained to compare lottery tickets with pruning and fine-tuning: starts x masks x sparsities, for one seed.

A cell is "start, masks, sparsity": from which weights a network is trained under which masks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, nn

from papers.small_images import Images, Recipe, deployed_accuracy, fit, plain_network
from papers.trials import remembered, remembered_tensors
from spokeshave.methods import (
    ADMM,
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
from spokeshave.schemes.unstructured import Unstructured

Masks = dict[str, Tensor]
State = dict[str, Tensor]

SPARSITIES = (0.5, 0.7, 0.85)
LEVELS = (
    0.29,
    0.5,
    0.61,
    0.7,
    0.79,
    0.85,
)  # of the rounds of iterative masks, which pass through all of SPARSITIES
STARTS = {"fine-tuned": "trained", "rewound": "early", "ticket": "initial", "fresh": "random"}
FRACTION = 0.2  # of largest weights, for the correlation
PARTS = ("initial", "early", "trained")  # of `Weights`
TWICE = "ticket trained twice as long"
ADMM_RATE = 0.01  # of learning: it goes on from trained weights


def plan(sparsity: float) -> Plan:
    """The same share of every layer but the first convolution, as in the paper."""
    return Plan((Rule("0", None), Rule("*", Unstructured(sparsity))))


def cell(start: str, masks: str, sparsity: float) -> str:
    """What a training is called."""
    return f"{start}, {masks}, {sparsity:.0%}"


@dataclass(frozen=True)
class Trial:
    """One dense training and what follows from its weights; what was trained is remembered under `key`.

    `adequate` is the learning rate at which everything is run; at others tickets are compared with fresh weights alone.
    """

    images: Images
    recipe: Recipe
    seed: int
    key: str
    adequate: bool

    def run(self) -> dict[str, Any]:
        """Test accuracies of the compiled networks by cell, and correlations."""
        found = self.dense
        return {
            "seed": self.seed,
            "rate": self.recipe.rate,
            "dense": deployed_accuracy(self.network(found.trained), self.images),
            "correlation": weight_correlation(found.initial, found.trained, FRACTION),
            "cells": self._everything() if self.adequate else self._starts("ticket", "fresh"),
            "alike": self._alike() if self.adequate else {},
        }

    @cached_property
    def dense(self) -> Weights:
        """The dense training's weights."""

        def make() -> dict[str, Tensor]:
            method = IterativeMagnitude(SPARSITIES[0], early_epochs=1)
            found = find_masks(method, self.network(), plan, self._loop())
            return {
                f"{part}.{name}": tensor for part in PARTS for name, tensor in getattr(found, part).items()
            }

        tensors = remembered_tensors(f"{self.key}-dense", make)
        return Weights(**{part: _under(f"{part}.", tensors) for part in PARTS})

    def _everything(self) -> dict[str, Any]:
        found, iterative, most = self._starts(*STARTS), self.iterative(), SPARSITIES[-1]
        for sparsity in SPARSITIES:
            found |= self._cell("ticket", "iterative", sparsity, iterative[sparsity])
            found |= self._cell("fine-tuned", "iterative", sparsity, iterative[sparsity])
            found |= self._cell("fine-tuned", "ADMM", sparsity, self.drawn(sparsity))
        found |= self._cell("fine-tuned", "random", most, self.shuffled(self.largest(most)))
        return found | self._cell(TWICE, "one-shot", most, self.largest(most))

    def _alike(self) -> dict[str, float]:
        """By kind of mask: the part of the weights kept at the highest sparsity that one-shot masks keep too."""
        most = SPARSITIES[-1]
        largest, kinds = self.largest(most), {"iterative": self.iterative()[most], "ADMM": self.drawn(most)}
        return {
            kind: sum(int((mask & largest[name]).sum()) for name, mask in masks.items())
            / sum(int(mask.sum()) for mask in masks.values())
            for kind, masks in kinds.items()
        }

    def _starts(self, *starts: str) -> dict[str, Any]:
        """Trainings from these starts under one-shot masks."""
        found: dict[str, Any] = {}
        for sparsity, start in product(SPARSITIES, starts):
            found |= self._cell(start, "one-shot", sparsity, self.largest(sparsity))
        return found

    def _cell(self, start: str, masks: str, sparsity: float, kept: Masks) -> dict[str, Any]:
        name = cell(start, masks, sparsity)
        return {name: self._remembered(name, partial(self._under_masks, start, sparsity, kept))}

    def _under_masks(self, start: str, sparsity: float, kept: Masks) -> dict[str, float]:
        """One training under masks, and what came of it."""
        network, found = self.network(), self.dense
        torch.manual_seed(self.seed + 200)  # of fresh weights
        method = IterativeMagnitude(sparsity, STARTS.get(start, "initial"), early_epochs=1)
        loop = self._loop(2 if start == TWICE else 1, later=100)
        train_under(replace(found, masks=kept), method, network, plan, loop)
        end = network.state_dict()
        left = sum(int(end[name].count_nonzero()) for name in kept)
        origins = {"initial": found.initial, "trained": found.trained}
        return {
            "accuracy": deployed_accuracy(network, self.images, plan(sparsity)),
            "density": left / sum(mask.numel() for mask in kept.values()),
            **{
                f"correlation with {name}": weight_correlation(end, _masked(origin, kept), FRACTION)
                for name, origin in origins.items()
            },
        }

    def largest(self, sparsity: float) -> Masks:
        """One-shot masks: the largest trained weights of each layer."""
        return _pruned(self.network(self.dense.trained), sparsity)

    def iterative(self) -> dict[float, Masks]:
        """Masks by sparsity: in each round first weights are trained under the last masks, and pruned again."""

        def make() -> Masks:
            masks, network = {LEVELS[0]: self.largest(LEVELS[0])}, self.network()
            for level, following in pairwise(LEVELS):
                method = IterativeMagnitude(level, "initial")
                train_under(
                    replace(self.dense, masks=masks[level]), method, network, plan, self._loop(later=100)
                )
                masks[following] = _pruned(network, following)
            return {f"{level}.{name}": mask for level in SPARSITIES for name, mask in masks[level].items()}

        found = remembered_tensors(f"{self.key}-iterative", make)
        return {sparsity: _under(f"{sparsity}.", found) for sparsity in SPARSITIES}

    def drawn(self, sparsity: float) -> Masks:
        """ADMM's masks: half a training towards the sparsity, from the trained weights."""

        def make() -> Masks:
            network = self.network(self.dense.trained)
            method = ADMM(update_steps=max(1, 20 * self.recipe.samples // 6_400))
            session = begin(method, network, plan(sparsity))
            epochs = max(1, self.recipe.epochs // 2)
            recipe = replace(self.recipe, epochs=epochs, rate=ADMM_RATE, drops=())
            fit(network, self.images, recipe, self.seed + 300, session)
            session.finish()
            return _kept(network, sparsity)

        return remembered_tensors(f"{self.key}-admm-{sparsity}", make)

    def shuffled(self, masks: Masks) -> Masks:
        """The same number of weights in each layer, anywhere."""
        generator = torch.Generator().manual_seed(self.seed)
        return {
            name: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view(mask.shape)
            for name, mask in masks.items()
        }

    def network(self, state: State | None = None) -> nn.Module:
        """The seed's, with its first weights or those of a state."""
        network = plain_network(self.images, self.seed)
        if state is not None:
            network.load_state_dict(state)
        return network

    def _loop(self, times: int = 1, later: int = 0) -> Callable[[nn.Module, Session], None]:
        def loop(network: nn.Module, session: Session) -> None:
            recipe = replace(self.recipe, epochs=times * self.recipe.epochs)
            fit(network, self.images, recipe, self.seed + later, session)

        return loop

    def _remembered(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return remembered(f"{self.key}-{name}", make)


def _pruned(network: nn.Module, sparsity: float) -> Masks:
    """Prune by magnitude; where a weight stayed."""
    begin(OneShot(), network, plan(sparsity)).finish()
    return _kept(network, sparsity)


def _kept(network: nn.Module, sparsity: float) -> Masks:
    return {name: network.get_parameter(name).detach() != 0 for name in plan(sparsity).resolve(network)}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}


def _masked(state: State, masks: Masks) -> State:
    return state | {name: state[name] * mask for name, mask in masks.items()}
