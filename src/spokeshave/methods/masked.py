"""Fine-tuning of what is left: removed weights stay exactly zero, and signs that a scheme fixed stay."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from spokeshave.errors import SpokeshaveError
from spokeshave.methods.constraints import (
    Constraint,
    check_keys,
    distances,
    round_weights,
    trainable_constraints,
    zero_penalty,
)
from spokeshave.methods.session import open_session
from spokeshave.plan import Plan
from spokeshave.schemes.freedom import free_weights, frozen_signs


@dataclass(frozen=True)
class MaskedFineTuning:
    """Freeze the support of every weight that already lies in its scheme, and train the rest.

    Of polarized weights the signs of fragments are frozen instead: what was removed may come back with that sign.
    """


class MaskedSession:
    """Keeps the zeros of the moment it begins.

    Gradients of removed weights are zeroed before any optimiser sees them, so no momentum gathers there;
    `after_step` zeroes the weights themselves, for the sake of optimisers that bring momentum from before.
    """

    def __init__(self, constraints: tuple[Constraint, ...]) -> None:
        self.constraints = constraints
        self._weights: list[Tensor] = [constraint.weight for constraint in constraints]
        self._masks = [
            free_weights(c.scheme, c.weight.detach()).to(c.weight.dtype, copy=True) for c in constraints
        ]
        self._signs = [frozen_signs(c.scheme, c.weight.detach()) for c in constraints]
        self._handles = [self._watch(index) for index in range(len(constraints))]

    def penalty(self) -> Tensor:
        """Zero."""
        return zero_penalty(self.constraints)

    @torch.no_grad()
    def after_step(self) -> None:
        """Zero the removed weights again, and those that changed a sign that is frozen."""
        torch._foreach_mul_(self._weights, self._masks)
        for weight, signs in zip(self._weights, self._signs, strict=True):
            if signs is not None:
                weight.mul_(signs).clamp_(min=0).mul_(signs)

    def after_epoch(self) -> None:
        """Nothing."""

    @torch.no_grad()
    def finish(self) -> None:
        """Take the hooks off; weights whose scheme has levels besides zeros are rounded to them once more."""
        self.after_step()
        for handle in self._handles:
            handle.remove()
        round_weights(self.constraints)

    def residuals(self) -> dict[str, float]:
        """By weight: distance from its scheme, 0 for schemes that only remove weights."""
        return distances(self.constraints)

    def state(self) -> dict[str, Tensor]:
        """The supports, as booleans, and the signs that are frozen."""
        names = [constraint.name for constraint in self.constraints]
        supports = {f"support.{name}": mask.bool() for name, mask in zip(names, self._masks, strict=True)}
        signs = zip(names, self._signs, strict=True)
        return supports | {f"sign.{name}": sign.to(torch.int8) for name, sign in signs if sign is not None}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Freeze the supports and signs that `state` gave."""
        check_keys(state, self.state())
        for constraint, mask, signs in zip(self.constraints, self._masks, self._signs, strict=True):
            mask.copy_(state[f"support.{constraint.name}"])
            if signs is not None:
                signs.copy_(state[f"sign.{constraint.name}"])
        self.after_step()

    def _watch(self, index: int) -> RemovableHandle:
        return self._weights[index].register_hook(lambda gradient: gradient * self._masks[index])


@open_session.register
def _(method: MaskedFineTuning, network: nn.Module, plan: Plan) -> MaskedSession:
    constraints = trainable_constraints(network, plan)
    for constraint in constraints:
        if not constraint.scheme.contains(constraint.weight.detach()):
            raise SpokeshaveError(
                f"{constraint.name} does not lie in its scheme yet; "
                "finish OneShot or ADMM before masked fine-tuning"
            )
    return MaskedSession(constraints)
