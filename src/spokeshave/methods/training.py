"""A ready training loop for those who have none."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from spokeshave.data.data import Batches, Data
from spokeshave.data.extras import import_extra
from spokeshave.data.labels import IGNORED, loss_of
from spokeshave.errors import SpokeshaveError
from spokeshave.methods.distillation import Loss, Teacher
from spokeshave.methods.finite import check_trained
from spokeshave.methods.schedule import Schedule, one_cycle
from spokeshave.methods.session import Session
from spokeshave.methods.unconfined import check_teacher
from spokeshave.schemes.checks import check_choice, check_count, check_least
from spokeshave.weights import check_network


@dataclass(frozen=True)
class EpochResult:
    """One pass over the training data: mean loss (without the penalty), residuals by weight, seconds.

    `dual_residuals` are ADMM's: what the points that it pulls towards moved by.
    """

    epoch: int
    loss: float
    residuals: dict[str, float]
    seconds: float
    dual_residuals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """What stays the same over the epochs of a run; `steps` is the length of the learning rate's schedule."""

    network: nn.Module
    optimizer: Optimizer
    steps: int
    session: Session | None = None
    loss: Loss = F.cross_entropy
    teacher: Teacher | None = None
    precision: torch.dtype = torch.float32
    schedule: Schedule = one_cycle
    on_scores: Callable[[Tensor, Tensor], None] | None = None


class _Engine(Protocol):
    """Where a step runs: plain PyTorch or Accelerate."""

    device: torch.device

    def backward(self, loss: Tensor) -> None: ...


class _Plain:
    def __init__(self, network: nn.Module) -> None:
        first = next(network.parameters(), None)
        self.device = torch.device("cpu") if first is None else first.device

    def backward(self, loss: Tensor) -> None:
        loss.backward()


def train(
    network: nn.Module,
    data: Data,
    epochs: int,
    *,
    learning_rate: float = 0.05,
    weight_decay: float = 5e-4,
    optimizer: Optimizer | None = None,
    session: Session | None = None,
    loss: Loss = F.cross_entropy,
    teacher: Teacher | None = None,
    seed: int = 0,
    first_epoch: int = 0,
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[EpochResult], None] | None = None,
    on_scores: Callable[[Tensor, Tensor], None] | None = None,
    accelerate: bool = False,
    precision: torch.dtype = torch.float32,
    schedule: Schedule = one_cycle,
) -> None:
    """Train for `epochs` passes over `data.train`, with a method's session when one is given.

    The optimiser (SGD with Nesterov momentum unless given) runs one cycle of its learning rate over all
    epochs, or another `schedule` (`Steps`). Every epoch is seeded by (seed, epoch), so that going on at
    `first_epoch` repeats what an uninterrupted run does there. `on_step` is told (steps done, steps in all),
    `on_epoch` each result, and `on_scores` what the network said of each batch, `(scores, labels)`.
    `accelerate` runs the steps through Hugging Face Accelerate; of several processes each takes its share of every
    batch of `Batches`, other loaders are shared out as Accelerate does. With `precision` bfloat16 the network's
    operators run in it where autocast allows; weights, loss and optimiser stay float32. The session is not
    finished here. Raises SpokeshaveError for data without a batch, when the loss or a weight is no longer finite, and
    when Accelerate is asked for and missing.
    """
    check_network("train", network)
    for name, thing, kind in (
        ("data", data, Data),
        ("session", session, Session),
        ("teacher", teacher, Teacher),
    ):
        if not isinstance(thing, kind) and (name == "data" or thing is not None):
            raise SpokeshaveError(f"train: {name} must be a {kind.__name__}, not {type(thing).__name__}")
    if teacher is not None:
        check_teacher("train", teacher.network, network)
    check_choice("train", "precision", precision, (torch.float32, torch.bfloat16))
    check_count("train", "epochs", epochs, 0)
    check_count("train", "first_epoch", first_epoch, 0)
    optimizer = optimizer or sgd(network, learning_rate, weight_decay)
    engine, network_run, optimizer_run, batches = _engine(network, optimizer, data.train, accelerate)
    steps = epochs * count_batches(batches)  # of this process
    run = Training(network_run, optimizer_run, steps, session, loss, teacher, precision, schedule, on_scores)
    network.train()
    with channels_last(network):
        for epoch in range(first_epoch, epochs):
            torch.manual_seed(epoch_seed(seed, epoch))
            result = run_epoch(run, batches, epoch, on_step, engine)
            if on_epoch:
                on_epoch(result)


def run_epoch(
    run: Training,
    batches: Iterable[tuple[Tensor, Tensor]],
    epoch: int,
    on_step: Callable[[int, int], None] | None = None,
    engine: _Engine | None = None,
) -> EpochResult:
    """One pass over the batches, hooks included."""
    engine, started, done = engine or _Plain(run.network), time.perf_counter(), epoch * count_batches(batches)
    total, first = torch.zeros((), device=engine.device), done
    for inputs, labels in batches:
        set_rate(run.optimizer, run.schedule(done, run.steps))
        total += _step(run, engine, inputs.to(engine.device), labels.to(engine.device))
        done += 1
        if on_step:
            on_step(done, run.steps)
    if done == first:
        raise SpokeshaveError(
            f"epoch {epoch} saw not one batch: the training data is empty, or an iterator that has run out; "
            "give a list or a loader"
        )
    if run.session:
        run.session.after_epoch()
    residuals = run.session.residuals() if run.session else {}
    mean = float(total / (done - first))
    if not math.isfinite(mean):
        raise SpokeshaveError(f"the loss is no longer finite in epoch {epoch}: {_reason(batches)}")
    check_trained(run.network, f"epoch {epoch}")
    dual: dict[str, float] = getattr(run.session, "dual_residuals", dict)()
    return EpochResult(epoch, mean, residuals, time.perf_counter() - started, dual)


def _step(run: Training, engine: _Engine, inputs: Tensor, labels: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=run.precision == torch.bfloat16):
        scores = run.network(inputs).float()
        wanted = run.teacher.scores(inputs) if run.teacher else None
    loss = loss_of(run.loss, scores, labels)
    if run.teacher and wanted is not None:
        loss = run.teacher.loss(scores, wanted, loss)
    run.optimizer.zero_grad()
    engine.backward(loss + run.session.penalty() if run.session else loss)
    run.optimizer.step()
    if run.session:
        run.session.after_step()
    if run.on_scores:
        run.on_scores(scores.detach(), labels)
    return loss.detach()


def sgd(network: nn.Module, learning_rate: float, weight_decay: float = 5e-4) -> Optimizer:
    """The loop's own optimiser: SGD with Nesterov momentum 0.9."""
    check_least("train", "learning_rate", learning_rate, 0)
    return SGD(network.parameters(), learning_rate, momentum=0.9, weight_decay=weight_decay, nesterov=True)


def adamw(network: nn.Module, learning_rate: float, weight_decay: float = 0.05) -> Optimizer:
    """What vision transformers are trained with, which SGD trains slowly (DeiT, arXiv 2012.12877)."""
    check_least("train", "learning_rate", learning_rate, 0)
    return AdamW(network.parameters(), learning_rate, weight_decay=weight_decay)


def set_rate(optimizer: Optimizer, fraction: float) -> None:
    """Set every group's learning rate to a fraction of the one that it began with."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * fraction


def count_batches(batches: Iterable[Any]) -> int:
    """How many batches one pass gives; loaders without a length are counted once through."""
    return len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches)


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed of its own for every epoch of a run.

    >>> epoch_seed(3, 1) != epoch_seed(3, 2)
    True
    """
    return seed * 1_000_003 + epoch


@contextmanager
def channels_last(network: nn.Module) -> Iterator[None]:
    """Keep the network's convolutions in the memory layout that trains fastest while the block runs."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _engine(
    network: nn.Module, optimizer: Optimizer, batches: Any, accelerate: bool
) -> tuple[Any, Any, Any, Any]:
    if not accelerate:
        return _Plain(network), network, optimizer, batches
    accelerator = import_extra("accelerate", "loop", "the Accelerate loop").Accelerator()
    prepared = accelerator.prepare(network, optimizer)
    if isinstance(batches, Batches):
        return accelerator, *prepared, batches.shared(accelerator.process_index, accelerator.num_processes)
    is_loader = isinstance(batches, torch.utils.data.DataLoader)
    return accelerator, *prepared, accelerator.prepare(batches) if is_loader else batches


def _reason(batches: Iterable[tuple[Tensor, Tensor]]) -> str:
    """Why a loss is not finite: the samples, or else the steps were too long."""
    for position, (inputs, labels) in enumerate(batches):
        if not torch.isfinite(inputs).all():
            return f"batch {position} of the training data holds numbers that are not finite"
        if bool((labels == IGNORED).all()):
            return f"all labels of batch {position} are {IGNORED}, which the loss leaves out"
    return "a lower learning rate helps"
