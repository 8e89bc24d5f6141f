"""Trials of token reducers at equal realised work: random, class attention, a selector, a package beside it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from papers.deployments import Store
from papers.selector_training import Recipe, fit_selectors, set_thresholds, trained_as_long, warm_start
from papers.trials import remembered
from spokeshave.data import Data
from spokeshave.measure import evaluate
from spokeshave.tokens import CLSAttention, Random, TokenReducer, insert, inserted_in
from spokeshave.tokens.selector import linear_weights
from spokeshave.tokens.work import realised_work

PACKAGE = "selector and package"


@dataclass(frozen=True)
class Outcome:
    """What a network with reducers does on the test's samples."""

    correct: int
    total: int
    work: float
    dense_work: float
    selectors: float
    counts: tuple[float, ...]
    spread: tuple[float, ...]

    def figures(self) -> dict[str, Any]:
        """For a record: accuracy, the share of multiply-adds that is gone, the selectors' share, mean tokens."""
        return {
            "accuracy": self.correct / self.total,
            "removed": 1 - (self.work + self.selectors) / self.dense_work,
            "selectors": self.selectors / (self.work + self.selectors),
            "tokens": self.counts,
            "token_deviation": self.spread,
        }


@dataclass(frozen=True)
class Subject:
    """A dense network with data of a seed, and how it is fine-tuned; `kept` holds what is trained, under `name`."""

    kept: Store
    name: str
    dense: nn.Module
    data: Data
    recipe: Recipe
    seed: int

    def trial(self, without_packages: bool = True) -> dict[str, dict[str, Any]]:
        """All four at the work that the selector with packages came to, and the dense network trained as long.

        The fourth is the selector without packages, which can be left out.
        """
        found = {PACKAGE: self._figures(PACKAGE, self.recipe.learned())}
        counts = found[PACKAGE]["tokens"]
        # Class tokens are not among those chosen from; what a package stands for is a token like others.
        aimed = [counts[0] - 1] + [counts[place] - 1 for place in self.recipe.places]
        found["class attention"] = self._figures("class attention", self.recipe.fixed(aimed, CLSAttention()))
        found["random"] = self._figures("random", self.recipe.fixed(aimed, Random(self.seed)))
        found["dense"] = self._remembered("dense", self._dense)
        if without_packages:
            found["selector"] = self._figures("selector", self.recipe.learned(packages=False))
        return found

    def fitted(self, kind: str, reducers: list[TokenReducer]) -> nn.Module:
        """The network with these reducers, trained unless it is there."""
        torch.manual_seed(self.seed)
        network = copy.deepcopy(self.dense)
        reduced = insert(network, reducers)

        def fit(fresh: nn.Module) -> None:
            if self.recipe.warm_steps and reduced.selectors:
                warm_start(fresh, reduced, self.dense, self.data, self.recipe)
            fit_selectors(fresh, reduced, self.dense, self.data, self.recipe, self.seed)

        self.kept.checkpoint(self._key(kind), self.recipe, network, fit)
        torch.manual_seed(self.seed)
        set_thresholds(network, reduced, self.data, self.recipe)
        return network

    def _figures(self, kind: str, reducers: list[TokenReducer]) -> dict[str, Any]:
        return self._remembered(kind, lambda: measured(self.fitted(kind, reducers), self.data).figures())

    def _remembered(self, kind: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return remembered(self._key(kind), make)

    def _key(self, kind: str) -> str:
        return f"{self.name}-{kind.replace(' ', '_')}-{self.seed}"

    def _dense(self) -> dict[str, Any]:
        """As it is, and trained as long as the others."""
        network = copy.deepcopy(self.dense)
        trained_as_long(network, self.dense, self.data, self.recipe, self.seed)
        both = (("accuracy", self.dense), ("trained", network))
        return {name: evaluate(each, self.data.held_out).top1 for name, each in both}


def measured(network: nn.Module, data: Data) -> Outcome:
    """What a network with reducers does on the test's samples."""
    reduced = inserted_in(network)
    correct, works, spent, counts = 0, [], [], []
    with torch.no_grad():
        for inputs, labels in data.held_out:
            correct += int((network(inputs).argmax(1) == labels).sum())
            work, selectors = realised_work(reduced)
            works.append(work)
            spent.append(selectors)
            counts.append(reduced.counts)
    tokens, work = torch.cat(counts, 1).double(), torch.cat(works).double()
    everybody = float(tokens[0, 0])
    dense = sum(
        everybody * linear_weights(block.module) + 2 * everybody**2 * block.width for block in reduced.blocks
    )
    return Outcome(
        correct,
        tokens.shape[1],
        float(work.mean()),
        dense,
        float(torch.cat(spent).double().mean()),
        tuple(tokens.mean(1).tolist()),
        tuple(tokens.std(1).tolist()),
    )
