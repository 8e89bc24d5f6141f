"""One-shot pruning: one projection, no preparation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from spokeshave.criteria import saliencies
from spokeshave.criteria.criterion import Batches
from spokeshave.methods.constraints import (
    Constraint,
    check_keys,
    constraints_of,
    distances,
    project_weights,
    zero_penalty,
)
from spokeshave.methods.session import begin
from spokeshave.plan import Plan


@dataclass(frozen=True)
class OneShot:
    """Project every weight in `finish`, keeping what a criterion of `spokeshave.criteria` finds salient.

    None is every scheme's own, the squared weight. Criteria that look at data are given `batches`, pairs (inputs,
    labels). All saliencies are found before the first weight changes.
    """

    criterion: Any = None
    batches: Batches | None = None


@dataclass(frozen=True)
class OneShotSession:
    """Leaves training alone until `finish`."""

    method: OneShot
    network: nn.Module
    constraints: tuple[Constraint, ...]

    def penalty(self) -> Tensor:
        """Zero."""
        return zero_penalty(self.constraints)

    def after_step(self) -> None:
        """Nothing."""

    def after_epoch(self) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Project every weight."""
        method, names = self.method, [constraint.name for constraint in self.constraints]
        chosen = method.criterion is not None
        found = saliencies(method.criterion, self.network, names, method.batches) if chosen else None
        project_weights(self.constraints, found)

    def residuals(self) -> dict[str, float]:
        """By weight: distance from its scheme relative to its norm."""
        return distances(self.constraints)

    def state(self) -> dict[str, Tensor]:
        """Nothing to keep."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to put back."""
        check_keys(state, {})


@begin.register
def _(method: OneShot, network: nn.Module, plan: Plan) -> OneShotSession:
    return OneShotSession(method, network, constraints_of(network, plan))
