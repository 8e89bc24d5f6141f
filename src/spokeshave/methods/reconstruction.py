"""Layer-wise reconstruction: one-shot pruning that keeps each layer's outputs rather than its weights."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spokeshave.methods.constraints import Constraint, check_keys, constraints_of, distances, zero_penalty
from spokeshave.methods.least_squares import reconstruct
from spokeshave.methods.moments import input_moments
from spokeshave.methods.session import begin
from spokeshave.methods.statistics import refresh_batch_norm
from spokeshave.plan import Plan


@dataclass(frozen=True)
class Reconstruction:
    """Prune in `finish`, refitting what is left to the layer's outputs on `passes` batches of `batches`.

    No labels are used. Where batch norms follow, their statistics are measured afresh.
    """

    batches: Iterable[tuple[Tensor, Tensor]]
    passes: int = 8


@dataclass(frozen=True)
class ReconstructionSession:
    """Leaves training alone until `finish`."""

    method: Reconstruction
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
        """Replace every weight by the one of its scheme that changes the layer's outputs least."""
        layers = {constraint.name.rpartition(".")[0]: constraint for constraint in self.constraints}
        moments = input_moments(self.network, layers, self.method.batches, self.method.passes)
        with torch.no_grad():
            for name, constraint in layers.items():
                weight = constraint.weight
                weight.copy_(reconstruct(weight.detach(), moments[name], constraint.scheme))
        refresh_batch_norm(self.network, self.method.batches, self.method.passes)

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
def _(method: Reconstruction, network: nn.Module, plan: Plan) -> ReconstructionSession:
    return ReconstructionSession(method, network, constraints_of(network, plan))
