"""Sessions inside other people's training loops: the Trainer of transformers, and Lightning's.

Both loops own the loss, so the session's penalty joins as its gradient, before the optimiser's step.
"""

from typing import Any

import torch
from torch import nn

from spokeshave.data.extras import import_extra
from spokeshave.errors import SpokeshaveError
from spokeshave.methods.session import Session


def add_penalty(session: Session, network: nn.Module) -> None:
    """Add the gradient of a session's penalty to the parameters' gradients; a gradient that is missing is made."""
    penalty = session.penalty()
    if not penalty.requires_grad:
        return
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def trainer_callback(session: Session) -> Any:
    """A callback for `transformers.Trainer`; the session finishes when training ends.

    The penalty's gradient is added after the Trainer has clipped the loss's. Use a callback for one training only;
    raises SpokeshaveError when transformers is missing, and when a second training begins with it.
    """
    transformers = import_extra("transformers", "models", "the Trainer's callback")

    class _TrainerCallback(transformers.TrainerCallback):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self._guard = _Guard()

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._guard.begin()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            add_penalty(session, kwargs["model"])

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            session.after_step()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            session.after_epoch()

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            session.finish()

    return _TrainerCallback()


def lightning_callback(session: Session) -> Any:
    """A callback for `lightning.Trainer` with automatic optimisation; the session finishes when the fit ends.

    Use a callback for one fit only; raises SpokeshaveError when Lightning is missing, and when a second fit begins
    with it.
    """
    lightning = import_extra("lightning.pytorch", "lightning", "Lightning's callback")

    class _LightningCallback(lightning.Callback):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self._guard, self._steps = _Guard(), 0

        def on_fit_start(self, trainer: Any, pl_module: nn.Module) -> None:
            self._guard.begin()

        def on_before_optimizer_step(self, trainer: Any, pl_module: nn.Module, optimizer: Any) -> None:
            add_penalty(session, pl_module)

        def on_train_batch_end(self, trainer: Any, *batch: Any) -> None:
            if trainer.global_step > self._steps:  # batches that only gather gradients are no steps
                self._steps = trainer.global_step
                session.after_step()

        def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
            session.after_epoch()

        def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
            session.finish()

    return _LightningCallback()


class _Guard:
    """Lets one training begin."""

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        if self._begun:
            raise SpokeshaveError(
                "this callback has been through a training; begin another session and callback"
            )
        self._begun = True
