"""What a method does to a training loop: a few hooks, and `begin` that gives them."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, Protocol

from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan


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


@singledispatch
def begin(method: Any, network: nn.Module, plan: Plan) -> Session:
    """Begin a method on a network: `begin(ADMM(), network, plan)`.

    The network's own parameters are worked on; nothing is copied. Raises SpokeshaveError for an unknown
    method, and for a plan that constrains no weight of the network.
    """
    raise SpokeshaveError(f"{method!r} is no method; give one of those of spokeshave.methods, such as ADMM()")
