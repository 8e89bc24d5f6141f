"""Pruning during one normal training run, in three stages (ClickTrain, arXiv 2011.10170).

epoch < choose_at            plain training
choose_at <= epoch < cut_at  what will be removed is chosen once, and drawn to zero by a group lasso
cut_at <= epoch              what was chosen stays zero; the rest trains on
the end                      what is left is rounded, where a scheme has levels
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.criteria import Taylor, saliencies
from spokeshave.criteria.criterion import Batches, required
from spokeshave.criteria.ranks import mean_over_ranks
from spokeshave.errors import SpokeshaveError
from spokeshave.methods.constraints import (
    Constraint,
    check_keys,
    check_rankable,
    distances,
    relative_gap,
    round_weights,
    trainable_constraints,
    zero_penalty,
)
from spokeshave.methods.session import open_session
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_above, check_count

CLICK_TRAIN = Taylor(passes=1, training=True)
TINY = 1e-8  # under the root, as in the authors' code


@dataclass(frozen=True)
class DuringTraining:
    """Choose at the end of epoch `choose_at`, draw to zero by `strength * sum ||W_removed||`, cut at epoch `cut_at`.

    Norms are over each kernel of a convolution and each row of a matrix. What is chosen is what the scheme's projection
    removes by the criterion's saliency; by default ClickTrain's, `(w g)^2` of one batch of `batches`.
    """

    batches: Batches
    choose_at: int
    cut_at: int
    strength: float = 5e-4
    criterion: Any = CLICK_TRAIN

    def __post_init__(self) -> None:
        required(self.batches, self)
        check_count("DuringTraining", "choose_at", self.choose_at, 0)
        check_count("DuringTraining", "cut_at", self.cut_at)
        if self.choose_at >= self.cut_at:
            raise SpokeshaveError(
                f"DuringTraining: choose_at {self.choose_at} must be below cut_at {self.cut_at}"
            )
        check_above("DuringTraining", "strength", self.strength)


class DuringTrainingSession:
    """Counts epochs; from `choose_at` on it knows which weights go."""

    needs = ("penalty",)

    def __init__(
        self, method: DuringTraining, network: nn.Module, constraints: tuple[Constraint, ...]
    ) -> None:
        self._method, self._network, self.constraints = method, network, constraints
        self._kept = [torch.ones_like(constraint.weight, dtype=torch.bool) for constraint in constraints]
        self._epochs = 0
        if method.choose_at == 0:
            self._choose()

    def penalty(self) -> Tensor:
        """The group lasso of the second stage; 0 in the others."""
        if not self._method.choose_at <= self._epochs < self._method.cut_at:
            return zero_penalty(self.constraints)
        norms = [
            _norms(constraint.weight * ~kept).sum()
            for constraint, kept in zip(self.constraints, self._kept, strict=True)
        ]
        return self._method.strength * torch.stack(norms).sum()

    @torch.no_grad()
    def after_step(self) -> None:
        """Zero what was removed, in the third stage."""
        if self._epochs >= self._method.cut_at:
            self._cut()

    def after_epoch(self) -> None:
        """Count the epoch; choose, or cut, when it is time."""
        self._epochs += 1
        if self._epochs == self._method.choose_at:
            self._choose()
        if self._epochs == self._method.cut_at:
            self._cut()

    def finish(self) -> None:
        """Zero what was removed, and round the rest to the levels of schemes that have some.

        Raises SpokeshaveError when training ended before the weights' removal.
        """
        if self._epochs < self._method.cut_at:
            raise SpokeshaveError(
                f"training ended after {self._epochs} epochs (calls of after_epoch), before weights are removed "
                f"at {self._method.cut_at}"
            )
        self._cut()
        round_weights(self.constraints)

    def residuals(self) -> dict[str, float]:
        """By weight: the distance from its scheme; between choice and cut, the norm of what will be removed.

        Both are relative to the weight's norm.
        """
        if not self._method.choose_at <= self._epochs < self._method.cut_at:
            return distances(self.constraints)
        return {
            constraint.name: relative_gap(constraint.weight.detach(), constraint.weight.detach() * kept)
            for constraint, kept in zip(self.constraints, self._kept, strict=True)
        }

    def state(self) -> dict[str, Tensor]:
        """What is kept, and the clock."""
        kept = {f"kept.{c.name}": kept for c, kept in zip(self.constraints, self._kept, strict=True)}
        return kept | {"clock": torch.tensor([self._epochs])}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` says is kept."""
        check_keys(state, self.state())
        self._epochs = int(state["clock"])
        self._kept = [
            state[f"kept.{c.name}"].to(c.weight.device, torch.bool, copy=True) for c in self.constraints
        ]

    def _choose(self) -> None:
        check_rankable(self.constraints)
        method, names = self._method, [constraint.name for constraint in self.constraints]
        found = mean_over_ranks(saliencies(method.criterion, self._network, names, method.batches))
        self._kept = [
            constraint.nearest(constraint.weight.detach(), found[constraint.name]) != 0
            for constraint in self.constraints
        ]

    @torch.no_grad()
    def _cut(self) -> None:
        for constraint, kept in zip(self.constraints, self._kept, strict=True):
            constraint.weight.mul_(kept)


def _norms(weight: Tensor) -> Tensor:
    """Norm over each kernel, or each row of a matrix."""
    groups = weight.flatten(2) if weight.dim() > 2 else weight
    return (groups.square().sum(-1) + TINY).sqrt()


@open_session.register
def _(method: DuringTraining, network: nn.Module, plan: Plan) -> DuringTrainingSession:
    return DuringTrainingSession(method, network, trainable_constraints(network, plan))
