"""Learning the features inside the dense network, not only its scores (FitNets, arXiv 1412.6550)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.methods.constraints import check_keys
from spokeshave.methods.session import Session, is_session, open_session
from spokeshave.methods.unconfined import Unconfined, check_teacher, taught
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_above
from spokeshave.weights import check_network


@dataclass(frozen=True)
class FeatureDistillation:
    """Draw what the named layers give towards what the teacher's layers of these names give on the same inputs.

    The penalty is `strength * sum over layers of ||student - teacher||^2 / ||teacher||^2`. Only tensors are compared,
    and of layers that give tuples the first.
    """

    teacher: nn.Module
    layers: tuple[str, ...]
    strength: float = 1.0

    def __post_init__(self) -> None:
        named = isinstance(self.layers, tuple | list) and all(isinstance(name, str) for name in self.layers)
        if not named or not self.layers:
            raise SpokeshaveError(
                'FeatureDistillation: layers must be the names of one or more, such as ("blocks.0",), '
                f"not {self.layers!r}"
            )
        check_network("FeatureDistillation", self.teacher)
        check_above("FeatureDistillation", "strength", self.strength)


class FeatureSession(Unconfined):
    """Hooks that run the teacher beside the student and keep the outputs of both until the penalty is asked for."""

    needs = ("penalty",)
    reads_forward = True

    def __init__(self, method: FeatureDistillation, network: nn.Module) -> None:
        self._method, self._network = method, network
        self._wanted: dict[str, Tensor] = {}
        self._found: dict[str, Tensor] = {}
        self._handles = [network.register_forward_pre_hook(self._teach, with_kwargs=True)]
        for owner, store in ((method.teacher, self._wanted), (network, self._found)):
            self._handles += [_watch(owner, name, store) for name in method.layers]

    def penalty(self) -> Tensor:
        """The relative distances of the last forward pass; raises SpokeshaveError when there was none in training."""
        found, wanted = self._found, self._wanted
        if not found or not wanted:
            raise SpokeshaveError(
                "the features are compared after a forward pass of the network in training mode; there was none"
            )
        for name in self._method.layers:
            if name not in found or name not in wanted:
                raise SpokeshaveError(
                    f"layer {name!r} took no part in the forward pass, so it has no features"
                )
        terms = [_distance(name, found[name], wanted[name]) for name in self._method.layers]
        self._forget()
        return self._method.strength * torch.stack(terms).sum()

    def finish(self) -> None:
        """Take the hooks off both networks."""
        for handle in self._handles:
            handle.remove()
        self._forget()

    def _teach(self, network: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._forget()
        if network.training:
            taught(self._method.teacher, inputs, named)

    def _forget(self) -> None:
        self._found.clear()
        self._wanted.clear()


@dataclass(frozen=True, eq=False)
class Together:
    """Several sessions on one network as one: penalties add up, hooks run in order.

    Names of residuals and states are told apart by the session's position.
    """

    sessions: tuple[Session, ...]

    def __post_init__(self) -> None:
        sessions = self.sessions if isinstance(self.sessions, tuple) else ()
        if not sessions or not all(map(is_session, sessions)):
            raise SpokeshaveError(
                "Together: sessions must be a tuple of one or more, such as begin(method, network, plan) gives, "
                f"not {self.sessions!r}"
            )

    @property
    def reads_forward(self) -> bool:
        """Whether the penalty of any is of the last forward pass."""
        return any(getattr(session, "reads_forward", False) for session in self.sessions)

    def penalty(self) -> Tensor:
        """The sum."""
        return torch.stack([session.penalty() for session in self.sessions]).sum()

    def after_step(self) -> None:
        """Every session's."""
        for session in self.sessions:
            session.after_step()

    def after_epoch(self) -> None:
        """Every session's."""
        for session in self.sessions:
            session.after_epoch()

    def finish(self) -> None:
        """Every session's."""
        for session in self.sessions:
            session.finish()

    def residuals(self) -> dict[str, float]:
        """All of them; where two sessions name a weight, the later one's."""
        return {name: gap for session in self.sessions for name, gap in session.residuals().items()}

    def state(self) -> dict[str, Tensor]:
        """Every session's, behind its position."""
        return {
            f"{position}.{name}": tensor
            for position, session in enumerate(self.sessions)
            for name, tensor in session.state().items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Give every session its own."""
        check_keys(state, self.state())
        for position, session in enumerate(self.sessions):
            prefix = f"{position}."
            own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
            session.restore(own)


def _watch(owner: nn.Module, name: str, store: dict[str, Tensor]) -> RemovableHandle:
    try:
        layer = owner.get_submodule(name)
    except AttributeError as error:
        raise SpokeshaveError(f"{type(owner).__name__} has no layer {name!r}") from error

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        store[name] = output[0] if isinstance(output, tuple) else output

    return layer.register_forward_hook(keep)


def _distance(name: str, found: object, wanted: object) -> Tensor:
    for features in (found, wanted):
        check_kind(f"what layer {name!r} gives", features, Tensor, "a tensor, to be compared")
    assert isinstance(found, Tensor)
    assert isinstance(wanted, Tensor)
    if found.shape != wanted.shape:
        raise SpokeshaveError(
            f"layer {name!r} gives {tuple(found.shape)}, the teacher's gives {tuple(wanted.shape)}"
        )
    wanted = wanted.detach().to(found.dtype)
    return (found - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12)


@open_session.register
def _(method: FeatureDistillation, network: nn.Module, plan: Plan) -> FeatureSession:
    check_teacher("FeatureDistillation", method.teacher, network)
    return FeatureSession(method, network)
