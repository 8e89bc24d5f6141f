"""Sessions inside other people's training loops: the Trainer of transformers, and Lightning's.

Both loops own the loss. A penalty of weights alone joins as its gradient, before the optimiser's step; one of the
last forward pass is part of the loss before it is differentiated.
"""

import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from weakref import ReferenceType, WeakSet, ref

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spokeshave.data.extras import import_extra
from spokeshave.errors import SpokeshaveError
from spokeshave.methods.features import Together
from spokeshave.methods.session import Begun, Session, is_session
from spokeshave.methods.wrong_labels import tell_wrong_labels, tell_wrong_target

STATE_FILE = "spokeshave_{}.safetensors"  # of one session
_claimed: WeakSet[Any] = WeakSet()
_named: dict[str, ReferenceType[Any]] = {}  # by a session's name: the Trainer's training that it was last in


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

    A penalty of weights alone is added after the Trainer has clipped the loss's gradient. The session's state is
    saved in the Trainer's checkpoints, and goes on with them; of one that lies outside `output_dir` the Trainer tells
    its callbacks by `TrainingArguments(resume_from_checkpoint=...)` alone. One session serves one training; raises
    SpokeshaveError when transformers is missing, when a second training begins with the session, when the Trainer
    trains another network, when a checkpoint holds no state of the session, and for labels that are none of the
    classes. So are two sessions of one method on the same weights, whose states would be one file: one `Together` of
    them is a session.
    """
    transformers = import_extra("transformers", "models", "the Trainer's callback")
    name = session_name(session)
    file = STATE_FILE.format(name)

    class _TrainerCallback(transformers.TrainerCallback):  # type: ignore[name-defined]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            _check_free(session, kwargs["model"])
            if session.state() and name in _named and _named[name]() is state:
                raise _shared_name(name)
            if state.global_step:
                _restore(session, _resumed_from(args, state.global_step) / file)
            _claimed.add(session)
            _named[name] = ref(state)
            self._as_before = tell_wrong_labels(kwargs["model"])
            if _reads_forward(session):
                join = _joins_loss(session, args.gradient_accumulation_steps)
                self._handle = kwargs["model"].register_forward_hook(join, with_kwargs=True)

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not _reads_forward(session):
                add_penalty(session, kwargs["model"])

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            session.after_step()

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            session.after_epoch()

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / file
            save_file({name: tensor.contiguous() for name, tensor in session.state().items()}, path)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if _reads_forward(session):
                self._handle.remove()
            self._as_before()
            session.finish()

    return _TrainerCallback()


def lightning_callback(session: Session) -> Any:
    """A callback for `lightning.Trainer` with automatic optimisation; the session finishes when the fit ends.

    The session's state is part of Lightning's checkpoints. One session serves one fit; raises SpokeshaveError when
    Lightning is missing, when a second fit begins with the session, when another network is fitted, for labels that
    are none of the classes, and for two sessions of one method on the same weights, which belong into one `Together`.
    """
    lightning = import_extra("lightning.pytorch", "lightning", "Lightning's callback")
    name = session_name(session)

    class _LightningCallback(lightning.Callback):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self._steps, self._ended = 0, False
            self.of = session, name

        def on_fit_start(self, trainer: Any, pl_module: nn.Module) -> None:
            _check_free(session, pl_module)
            others = [getattr(each, "of", (session, "")) for each in trainer.callbacks]
            if session.state() and any(one is not session and like == name for one, like in others):
                raise _shared_name(name)
            _claimed.add(session)

        def on_exception(self, trainer: Any, pl_module: nn.Module, exception: BaseException) -> None:
            tell_wrong_target(exception)

        def on_before_backward(self, trainer: Any, pl_module: nn.Module, loss: Tensor) -> None:
            if _reads_forward(session):
                (session.penalty() / trainer.accumulate_grad_batches).backward(retain_graph=True)

        def on_before_optimizer_step(self, trainer: Any, pl_module: nn.Module, optimizer: Any) -> None:
            if not _reads_forward(session):
                add_penalty(session, pl_module)

        def on_train_batch_end(self, trainer: Any, *batch: Any) -> None:
            if trainer.global_step > self._steps:  # batches that only gather gradients are no steps
                self._steps = trainer.global_step
                session.after_step()

        def on_train_epoch_end(self, trainer: Any, pl_module: nn.Module) -> None:
            session.after_epoch()

        def on_train_end(self, trainer: Any, pl_module: nn.Module) -> None:
            self._ended = True
            session.finish()

        def on_fit_end(self, trainer: Any, pl_module: nn.Module) -> None:
            if not self._ended:  # Lightning skips the training, and its end, where there is nothing to do
                raise SpokeshaveError(
                    "the fit ended without one batch of training, so its session is not finished: let "
                    "limit_train_batches, max_epochs and max_steps leave some, and the loader hold some"
                )

        def on_save_checkpoint(self, trainer: Any, pl_module: nn.Module, checkpoint: dict[str, Any]) -> None:
            states = checkpoint.setdefault("spokeshave", {})
            states[name] = {"steps": self._steps, "session": session.state()}

        def on_load_checkpoint(self, trainer: Any, pl_module: nn.Module, checkpoint: dict[str, Any]) -> None:
            states = checkpoint.get("spokeshave", {})
            if name not in states:
                raise SpokeshaveError(f"the fit goes on, but its checkpoint holds no state of {name}")
            self._steps = states[name]["steps"]
            session.restore(states[name]["session"])

    return _LightningCallback()


def _reads_forward(session: Session) -> bool:
    return getattr(session, "reads_forward", False)


def _joins_loss(session: Session, accumulated: int) -> Callable[..., Any]:
    """A hook that adds the penalty to the loss that the network gives.

    The Trainer divides losses by the number of batches whose gradients it gathers, unless it has told the network
    how many items those have (`num_items_in_batch`).
    """

    def join(network: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> Any:
        if not network.training:
            return None
        if not isinstance(output, MutableMapping) or "loss" not in output:
            raise SpokeshaveError("the penalty joins the loss that the network gives; it gives none")
        divided = accumulated if named.get("num_items_in_batch") is not None else 1
        output["loss"] = output["loss"] + session.penalty() / divided
        return output

    return join


def session_name(session: Session) -> str:
    """What a session's state is called in a checkpoint: its method, and a number of the names in its state.

    So sessions of several methods, or of one method on several weights, do not meet; the number holds before training.
    """
    if not is_session(session):
        raise SpokeshaveError(
            f"a callback takes a session, which begin(method, network, plan) gives, not {session!r}"
        )
    method = session.method if isinstance(session, Begun) else type(session).__name__
    held = hashlib.sha256(repr(sorted(session.state())).encode()).hexdigest()[:8]
    return f"{method}_{held}"


def _resumed_from(args: Any, step: int) -> Path:
    """The folder of the checkpoint that a training goes on from, as far as callbacks are told."""
    told = args.resume_from_checkpoint
    return Path(told) if told and Path(told).is_dir() else Path(args.output_dir) / f"checkpoint-{step}"


def _restore(session: Session, path: Path) -> None:
    if not path.is_file():
        raise SpokeshaveError(
            f"the training goes on, but the session's state is not at {path}; a checkpoint outside output_dir is to be "
            "named in TrainingArguments(resume_from_checkpoint=...) too"
        )
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SpokeshaveError(
            f"the session's state {path} is damaged ({error}); resume from an earlier checkpoint"
        ) from error
    session.restore(state)


def _shared_name(name: str) -> SpokeshaveError:
    return SpokeshaveError(
        f"two sessions of {name.rpartition('_')[0]} on the same weights would share their state in a checkpoint; "
        "give the trainer one callback, of Together((first, second))"
    )


def _check_free(session: Session, network: nn.Module) -> None:
    """Raise SpokeshaveError for a session that a training has claimed, or that was begun with another network."""
    if session in _claimed:
        raise SpokeshaveError(
            "this session has been through a training, or the trainer has its callback twice; "
            "begin another session and callback"
        )
    for begun in session.sessions if isinstance(session, Together) else (session,):
        own = next(begun.network.parameters(), None) if isinstance(begun, Begun) else None
        if own is not None and all(own is not parameter for parameter in network.parameters()):
            raise SpokeshaveError(
                "the session was begun with another network than the one that is trained here"
            )
