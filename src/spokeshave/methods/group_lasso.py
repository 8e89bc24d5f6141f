"""Reweighted group lasso: groups of weights are drawn to zero, weak ones ever harder (arXiv 2001.08357)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spokeshave.errors import naming
from spokeshave.methods.constraints import (
    Constraint,
    check_keys,
    distances,
    project_weights,
    trainable_constraints,
)
from spokeshave.methods.session import open_session
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_above, check_count
from spokeshave.schemes.groups import groups_of

TINY = 1e-12  # under the root: the norm of a group of zeros has a gradient


@dataclass(frozen=True)
class ReweightedGroupLasso:
    """`strength * sum over groups of gamma ||W_group||`, gamma = 1 / (||W_group||^2 + epsilon) refreshed now and then.

    A scheme's groups are what it removes together (`schemes.groups`). gamma is relative to a group of mean size, in
    every weight: 1 for such a group. It is refreshed every `reweight_every` epochs.
    """

    strength: float = 1e-3
    reweight_every: int = 1
    epsilon: float = 1e-2

    def __post_init__(self) -> None:
        check_above("ReweightedGroupLasso", "strength", self.strength)
        check_count("ReweightedGroupLasso", "reweight_every", self.reweight_every)
        check_above("ReweightedGroupLasso", "epsilon", self.epsilon)


@dataclass(frozen=True)
class _Groups:
    """One kind of groups of one weight: each weight's group, and how many there are."""

    name: str
    weight: nn.Parameter
    numbers: Tensor
    count: int

    def squares(self) -> Tensor:
        """Squared norm of every group."""
        empty = self.weight.new_zeros(self.count)
        return empty.index_add(0, self.numbers, self.weight.flatten().square())


class GroupLassoSession:
    """The groups, their weights gamma, and the clock that refreshes them."""

    needs = ("penalty", "after_epoch")

    def __init__(self, method: ReweightedGroupLasso, constraints: tuple[Constraint, ...]) -> None:
        self._method, self.constraints, self._epochs = method, constraints, 0
        self._groups = tuple(groups for constraint in constraints for groups in _groups_of(constraint))
        self._gammas = self._reweighted()

    def penalty(self) -> Tensor:
        """`strength * sum gamma ||W_group||`."""
        terms = [
            (gamma * (groups.squares() + TINY).sqrt()).sum()
            for groups, gamma in zip(self._groups, self._gammas, strict=True)
        ]
        return self._method.strength * torch.stack(terms).sum()

    def after_step(self) -> None:
        """Nothing."""

    def after_epoch(self) -> None:
        """Count the epoch, and refresh gamma when it is time."""
        self._epochs += 1
        if self._epochs % self._method.reweight_every == 0:
            self._gammas = self._reweighted()

    def finish(self) -> None:
        """Project every weight into its scheme."""
        project_weights(self.constraints)

    def residuals(self) -> dict[str, float]:
        """By weight: distance from its scheme relative to its norm."""
        return distances(self.constraints)

    def state(self) -> dict[str, Tensor]:
        """Gamma of every group, and the clock."""
        gammas = {
            f"gamma.{groups.name}": gamma for groups, gamma in zip(self._groups, self._gammas, strict=True)
        }
        return gammas | {"clock": torch.tensor([self._epochs])}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the gammas and the clock that `state` gave."""
        check_keys(state, self.state())
        self._epochs = int(state["clock"])
        self._gammas = [
            state[f"gamma.{groups.name}"].to(groups.weight.device, copy=True) for groups in self._groups
        ]

    @torch.no_grad()
    def _reweighted(self) -> list[Tensor]:
        return [_gamma(groups.squares(), self._method.epsilon) for groups in self._groups]


def _gamma(squares: Tensor, epsilon: float) -> Tensor:
    relative = squares / squares.mean().clamp(min=TINY)
    return (1 + epsilon) / (relative + epsilon)


def _groups_of(constraint: Constraint) -> list[_Groups]:
    weight = constraint.weight
    with naming(constraint.name):
        kinds = groups_of(constraint.scheme, tuple(weight.shape))
    return [
        _Groups(
            f"{constraint.name}.{kind}", weight, numbers.flatten().to(weight.device), int(numbers.max()) + 1
        )
        for kind, numbers in enumerate(kinds)
    ]


@open_session.register
def _(method: ReweightedGroupLasso, network: nn.Module, plan: Plan) -> GroupLassoSession:
    return GroupLassoSession(method, trainable_constraints(network, plan))
