"""One-shot pruning: one projection, no preparation."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from spokeshave.methods.constraints import (
    Constraint,
    Criterion,
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
    """Project every weight in `finish`; `criterion` maps a weight to its saliency (its square by default)."""

    criterion: Criterion | None = None


@dataclass(frozen=True)
class OneShotSession:
    """Leaves training alone until `finish`."""

    constraints: tuple[Constraint, ...]
    criterion: Criterion | None = None

    def penalty(self) -> Tensor:
        """Zero."""
        return zero_penalty(self.constraints)

    def after_step(self) -> None:
        """Nothing."""

    def after_epoch(self) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Project every weight."""
        project_weights(self.constraints, self.criterion)

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
    return OneShotSession(constraints_of(network, plan), method.criterion)
