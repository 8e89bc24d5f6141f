"""ADMM: weights are drawn towards their schemes while they are trained (GRIM, arXiv 2108.11033, section 4).

W: the user's optimiser on  loss(W) + rho / 2 * sum ||W - Z + U||^2
Z <- project(W + U)      U <- U + W - Z      every `update_every` epochs, or every `update_steps` steps
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods.constraints import (
    Constraint,
    check_keys,
    project_weights,
    relative_gap,
    trainable_constraints,
)
from spokeshave.methods.proximal import proximal
from spokeshave.methods.session import open_session
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_above, check_count, check_least


@dataclass(frozen=True)
class ADMM:
    """Alternating direction method of multipliers.

    `rho` weighs the pull at first and is multiplied by `rho_growth` after every `stage_updates` updates, up to
    `rho_limit`: `ADMM(1e-4, 10, 1e-2, stage_updates=9)` has three stages. An update comes every `update_every` epochs;
    with `update_steps` above 0, every so many steps instead.
    """

    rho: float = 0.05
    rho_growth: float = 1.3
    rho_limit: float = 1.0
    update_every: int = 1
    update_steps: int = 0
    stage_updates: int = 1

    def __post_init__(self) -> None:
        check_above("ADMM", "rho", self.rho)
        check_least("ADMM", "rho_growth", self.rho_growth, 1)
        check_least("ADMM", "rho_limit", self.rho_limit, self.rho)
        for name, least in (("update_every", 1), ("update_steps", 0), ("stage_updates", 1)):
            check_count("ADMM", name, getattr(self, name), least)


class ADMMSession:
    """The auxiliary weights Z, the scaled multipliers U, and the clock that updates them."""

    def __init__(self, method: ADMM, constraints: tuple[Constraint, ...]) -> None:
        self._method = method
        self.constraints = constraints
        self._weights: list[Tensor] = [constraint.weight for constraint in constraints]
        self._auxiliary = [constraint.nearest(constraint.weight.detach()) for constraint in constraints]
        self._multipliers = [torch.zeros_like(weight) for weight in self._weights]
        self._moved = torch.zeros(len(constraints), dtype=torch.float64)
        self._rho, self._epochs, self._steps = method.rho, 0, 0
        self._targets = self._pull_towards()

    @property
    def needs(self) -> tuple[str, ...]:
        """The penalty, and the hook that is the clock."""
        return "penalty", self._clock[0]

    @property
    def rho(self) -> float:
        """The weight of the pull at this moment."""
        return self._rho

    def penalty(self) -> Tensor:
        """`rho / 2 * sum ||W - Z + U||^2`."""
        return proximal(self._weights, self._targets, self._rho)

    def after_step(self) -> None:
        """Count the step, and update when steps are the clock."""
        self._steps += 1
        if self._method.update_steps and self._steps % self._method.update_steps == 0:
            self._update()

    def after_epoch(self) -> None:
        """Count the epoch, and update when epochs are the clock."""
        self._epochs += 1
        if not self._method.update_steps and self._epochs % self._method.update_every == 0:
            self._update()

    def finish(self) -> None:
        """Project every weight into its scheme; raises SpokeshaveError when no update has drawn them towards it."""
        hook, calls, period = self._clock
        if calls < period:
            raise SpokeshaveError(
                f"training ended after {calls} calls of {hook}(), before ADMM's first update at {period}; "
                "train longer, or let updates come more often (update_every, update_steps)"
            )
        project_weights(self.constraints)

    def residuals(self) -> dict[str, float]:
        """By weight: `||W - Z|| / ||W||`."""
        return {
            constraint.name: relative_gap(constraint.weight.detach(), auxiliary)
            for constraint, auxiliary in zip(self.constraints, self._auxiliary, strict=True)
        }

    def dual_residuals(self) -> dict[str, float]:
        """By weight: `||Z - Z before|| / ||Z||` of the last update: the dual residual over `rho ||Z||`."""
        names = [constraint.name for constraint in self.constraints]
        return dict(zip(names, self._moved.tolist(), strict=True))

    def state(self) -> dict[str, Tensor]:
        """Z and U by weight, rho, the clock and what Z moved by."""
        tensors = {"rho": torch.tensor(self._rho, dtype=torch.float64), "moved": self._moved.clone()}
        tensors["clock"] = torch.tensor([self._epochs, self._steps])
        for constraint, z, u in zip(self.constraints, self._auxiliary, self._multipliers, strict=True):
            tensors[f"auxiliary.{constraint.name}"] = z.clone()
            tensors[f"multiplier.{constraint.name}"] = u.clone()
        return tensors

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        check_keys(state, self.state())
        self._moved = state["moved"].clone()
        self._rho = float(state["rho"])
        self._epochs, self._steps = (int(count) for count in state["clock"])
        for constraint, z, u in zip(self.constraints, self._auxiliary, self._multipliers, strict=True):
            z.copy_(state[f"auxiliary.{constraint.name}"])
            u.copy_(state[f"multiplier.{constraint.name}"])
        self._targets = self._pull_towards()

    @property
    def _clock(self) -> tuple[str, int, int]:
        """The hook that counts, its calls so far, and after how many of them an update comes."""
        steps = self._method.update_steps
        if steps:
            return "after_step", self._steps, steps
        return "after_epoch", self._epochs, self._method.update_every

    @torch.no_grad()
    def _update(self) -> None:
        shifted, before = torch._foreach_add(self._weights, self._multipliers), self._auxiliary
        self._auxiliary = [c.nearest(point) for c, point in zip(self.constraints, shifted, strict=True)]
        moved = [relative_gap(now, then) for now, then in zip(self._auxiliary, before, strict=True)]
        self._moved = torch.tensor(moved, dtype=torch.float64)
        self._multipliers = list(torch._foreach_sub(shifted, self._auxiliary))
        self._grow()
        self._targets = self._pull_towards()

    def _grow(self) -> None:
        """Raise rho where a stage ends; U, the multiplier over rho, shrinks by as much (Boyd et al. 2011, 3.4.1)."""
        _, calls, period = self._clock
        if calls // period % self._method.stage_updates:
            return
        grown = min(self._rho * self._method.rho_growth, self._method.rho_limit)
        torch._foreach_mul_(self._multipliers, self._rho / grown)
        self._rho = grown

    @torch.no_grad()
    def _pull_towards(self) -> list[Tensor]:
        return list(torch._foreach_sub(self._auxiliary, self._multipliers))


@open_session.register
def _(method: ADMM, network: nn.Module, plan: Plan) -> ADMMSession:
    return ADMMSession(method, trainable_constraints(network, plan))
