"""Learning what every expert of the dense mixture gives, expert by expert (MoE-Pruner, arXiv 2410.12013)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods.constraints import check_keys
from spokeshave.methods.session import open_session
from spokeshave.methods.unconfined import Unconfined, check_teacher, taught
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_above, check_flag
from spokeshave.weights import check_network


@dataclass(frozen=True)
class ExpertDistillation:
    """Draw every expert towards the teacher's twin of it, on the tokens that the teacher routes there.

    The penalty is `strength * sum over layers and experts of mean((E_teacher - E_student)^2)`; experts without tokens
    add nothing. Without a `strength` the session's `balance(loss)` sets it, once, to `loss` over that sum, as the paper
    does. The student's experts read what the teacher's read, which keeps layers apart and stable; with
    `own_states` they read the student's own states, as the paper's formula can be understood. For networks of
    transformers that keep experts fused (`gate_up_proj`, `down_proj`), such as Mixtral.
    """

    teacher: nn.Module
    strength: float | None = None
    own_states: bool = False

    def __post_init__(self) -> None:
        check_network("ExpertDistillation", self.teacher)
        if self.strength is not None:
            check_above("ExpertDistillation", "strength", self.strength)
        check_flag("ExpertDistillation", "own_states", self.own_states)


class Routed(NamedTuple):
    """What the experts of a layer were given: states `[tokens, hidden]`, and chosen experts `[tokens, k]`."""

    states: Tensor
    chosen: Tensor


class ExpertSession(Unconfined):
    """Hooks that run the teacher beside the student and keep what the experts of both are given."""

    needs = ("penalty",)
    reads_forward = True

    def __init__(self, method: ExpertDistillation, network: nn.Module) -> None:
        self._method = method
        self._pairs = _pairs(network, method.teacher)
        self._strength = method.strength
        self._taught: dict[str, Routed] = {}
        self._own: dict[str, Routed] = {}
        self._distance: Tensor | None = None
        self._handles = [network.register_forward_pre_hook(self._teach, with_kwargs=True)]
        for name, (student, teacher) in self._pairs.items():
            self._handles.append(teacher.register_forward_pre_hook(_keeper(name, self._taught)))
            self._handles.append(student.register_forward_pre_hook(_keeper(name, self._own)))

    def balance(self, loss: Tensor) -> None:
        """Let the penalty weigh as much as `loss` at the first call; later calls change nothing."""
        if self._strength is None:
            self._strength = float(loss.detach()) / max(float(self.distance().detach()), 1e-12)

    def distance(self) -> Tensor:
        """The sum over layers and experts for the last forward pass in training mode."""
        if self._distance is None:
            if not self._taught:
                raise SpokeshaveError(
                    "experts are compared after a forward pass in training mode; there was none"
                )
            self._distance = torch.stack([self._layer(name) for name in self._pairs]).sum()
            self._taught.clear()
        return self._distance

    def penalty(self) -> Tensor:
        """`strength` times the distance; raises SpokeshaveError where neither it nor `balance` was given."""
        if self._strength is None:
            raise SpokeshaveError(
                "ExpertDistillation: give a strength, or call balance(loss) in the first step"
            )
        return self._strength * self.distance()

    def finish(self) -> None:
        """Take the hooks off both networks."""
        for handle in self._handles:
            handle.remove()
        self._taught.clear()
        self._own.clear()
        self._distance = None

    def state(self) -> dict[str, Tensor]:
        """The strength; NaN as long as it is not known."""
        return {"strength": torch.tensor(torch.nan if self._strength is None else self._strength)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the strength of `state`."""
        check_keys(state, self.state())
        strength = float(state["strength"])
        self._strength = None if strength != strength else strength

    def _teach(self, network: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not network.training:
            return
        self._distance = None
        taught(self._method.teacher, inputs, named)

    def _layer(self, name: str) -> Tensor:
        student, teacher = self._pairs[name]
        taught = self._taught[name]
        states = self._own[name].states if self._method.own_states else taught.states
        terms = [states.new_zeros(())]
        for expert in range(len(teacher.gate_up_proj)):
            tokens = (taught.chosen == expert).any(1).nonzero().flatten()
            if len(tokens):
                with torch.no_grad():
                    wanted = expert_output(teacher, expert, taught.states[tokens])
                terms.append(F.mse_loss(expert_output(student, expert, states[tokens]), wanted))
        return torch.stack(terms).sum()


def expert_output(experts: Any, expert: int, states: Tensor) -> Tensor:
    """What one of fused SwiGLU experts gives for states `[tokens, hidden]`, router gates left out."""
    gate, up = F.linear(states, experts.gate_up_proj[expert]).chunk(2, dim=-1)
    return F.linear(experts.act_fn(gate) * up, experts.down_proj[expert])


def _pairs(network: nn.Module, teacher: nn.Module) -> dict[str, tuple[Any, Any]]:
    """The mixtures of both networks by name; raises SpokeshaveError where there are none, or they differ."""
    ours, theirs = _mixtures(network), _mixtures(teacher)
    if not ours:
        raise SpokeshaveError(f"{type(network).__name__} has no fused experts (gate_up_proj, down_proj)")
    for name, mixture in ours.items():
        if name not in theirs or theirs[name].gate_up_proj.shape != mixture.gate_up_proj.shape:
            raise SpokeshaveError(
                f"the teacher has no experts {name} of shape {tuple(mixture.gate_up_proj.shape)}"
            )
    return {name: (mixture, theirs[name]) for name, mixture in ours.items()}


def _mixtures(network: nn.Module) -> dict[str, Any]:
    kinds = ("gate_up_proj", "down_proj", "act_fn")
    return {
        name: module
        for name, module in network.named_modules()
        if all(hasattr(module, kind) for kind in kinds) and module.down_proj.dim() == 3
    }


def _keeper(name: str, store: dict[str, Routed]) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        store[name] = Routed(inputs[0], inputs[1])

    return keep


@open_session.register
def _(method: ExpertDistillation, network: nn.Module, plan: Plan) -> ExpertSession:
    check_teacher("ExpertDistillation", method.teacher, network)
    return ExpertSession(method, network)
