"""What a method does to a training loop: a few hooks, and `begin` that gives them."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.weights import check_network

USES = {
    "penalty": "add penalty() to the loss",
    "after_step": "call after_step() after every step of the optimiser",
    "after_epoch": "call after_epoch() after every pass over the data",
}


@runtime_checkable
class Session(Protocol):
    """A method at work on a network, driven by whoever owns the training loop.

        loss = task_loss + session.penalty()
        loss.backward(); optimizer.step(); session.after_step()     every step
        session.after_epoch()                                       every epoch
        session.finish()                                            once: the weights now lie in the plan

    `state` and `restore` carry everything that is not in the network or the optimiser, as flat tensors.
    """

    def penalty(self) -> Tensor:
        """A scalar to add to the loss."""

    def after_step(self) -> None:
        """Call after every step of the optimiser."""

    def after_epoch(self) -> None:
        """Call after every pass over the training data."""

    def finish(self) -> None:
        """Put every weight into its scheme and take the hooks off the network."""

    def residuals(self) -> dict[str, float]:
        """By weight: how far it is from its scheme, relative to its norm."""

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on later."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; raises SpokeshaveError when it belongs to another session."""


def is_session(thing: object) -> bool:
    """Whether this is a session, and not the class of some."""
    return isinstance(thing, Session) and not isinstance(thing, type)


def begin(method: Any, network: nn.Module, plan: Plan) -> "Begun":
    """Begin a method on a network: `begin(ADMM(), network, plan)`.

    The network's own parameters are worked on; nothing is copied. Raises SpokeshaveError for what is no method,
    network or plan, and for a plan that constrains no weight of the network.
    """
    check_network("begin", network)
    if not isinstance(plan, Plan):
        raise SpokeshaveError(f'begin needs a plan, such as Plan((Rule("head", scheme),)), not {plan!r}')
    return Begun(type(method).__name__, open_session(method, network, plan), network)


@singledispatch
def open_session(method: Any, network: nn.Module, plan: Plan) -> Session:
    """The session of one kind of method; a new method registers its own here.

    A session may name in `needs` the hooks without which it does nothing, and say with `reads_forward` that its
    penalty is of the last forward pass, not of weights alone. In `constraints` it holds the weights that it works on.
    """
    raise SpokeshaveError(f"{method!r} is no method; give one of those of spokeshave.methods, such as ADMM()")


class Begun:
    """A session that has been begun, which sees to it that the loop drives it whole.

    `finish` raises SpokeshaveError when a hook that the method needs was never called or a weight that the plan means
    is another one by then, and so does every hook after `finish`. Everything else of the session can be reached through
    it.
    """

    def __init__(self, method: str, session: Session, network: nn.Module) -> None:
        self.network = network
        self.method, self._session = method, session
        self._missing = list(getattr(session, "needs", ()))
        self._finished = False

    @property
    def reads_forward(self) -> bool:
        """Whether the penalty is of the last forward pass."""
        return getattr(self._session, "reads_forward", False)

    def penalty(self) -> Tensor:
        """The session's."""
        self._called("penalty")
        return self._session.penalty()

    def after_step(self) -> None:
        """The session's."""
        self._called("after_step")
        self._session.after_step()

    def after_epoch(self) -> None:
        """The session's."""
        self._called("after_epoch")
        self._session.after_epoch()

    def finish(self) -> None:
        """The session's, once."""
        if self._missing:
            raise SpokeshaveError(f"the loop never let {self.method} work: {USES[self._missing[0]]}")
        self._called("finish")
        self._check_weights()
        self._session.finish()
        self._finished = True

    def residuals(self) -> dict[str, float]:
        """The session's."""
        return self._session.residuals()

    def state(self) -> dict[str, Tensor]:
        """The session's."""
        return self._session.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The session's; the hooks were called by the loop that went before."""
        self._session.restore(state)
        self._missing.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def _check_weights(self) -> None:
        """What the method worked on must still be the network's."""
        held = {id(parameter) for parameter in self.network.parameters()}
        for constraint in getattr(self._session, "constraints", ()):
            if id(constraint.weight) not in held:
                raise SpokeshaveError(
                    f"{constraint.name} was replaced by another parameter after {self.method} had begun on it, as "
                    "load_state_dict(..., assign=True) does; copy values into the parameter, or begin afterwards"
                )

    def _called(self, hook: str) -> None:
        if self._finished:
            raise SpokeshaveError(
                f"this session of {self.method} has finished, {hook}() comes too late; begin another"
            )
        if hook in self._missing:
            self._missing.remove(hook)
