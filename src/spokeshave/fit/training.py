"""The phases of a job that train: dense, method, fine-tuning; each goes on from its last completed epoch.

Every epoch is seeded by (seed, phase, epoch), so that no generator's state has to be kept.
"""

import copy
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Optimizer

from spokeshave.fit.checkpoint import (
    load_network,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from spokeshave.fit.inputs import examples_of, method_config, phase_seed, seed_everything
from spokeshave.fit.logits import Logits
from spokeshave.fit.state import EpochRecord
from spokeshave.fit.work import Found, Work
from spokeshave.measure.accuracy import evaluate
from spokeshave.methods import (
    EpochResult,
    MaskedFineTuning,
    Session,
    Teacher,
    begin,
    refresh_batch_norm,
    train,
)
from spokeshave.methods.training import sgd
from spokeshave.samples import PrunedLoader

LEARN_NORMS = ("randomized_binary",)  # methods whose batch norms learn what the device gives


@dataclass(frozen=True)
class Phase:
    """A stretch of training: its name in the run, epochs, peak learning rate, session and teacher if any."""

    name: str
    epochs: int
    learning_rate: float
    session: Session | None = None
    teacher: Teacher | None = None
    examples: PrunedLoader | None = None


def train_dense(work: Work) -> Found:
    """Train the dense network; without epochs the network is taken as it came."""
    recipe = work.inputs.recipe
    examples = examples_of(recipe, work.inputs.data, "dense")
    phase = Phase("dense", recipe.epochs.dense, recipe.learning_rates.dense, examples=examples)
    return _run_phase(work, work.inputs.network, phase)


def apply_method(work: Work) -> Found:
    """Bring the weights into the plan's schemes."""
    inputs, recipe = work.inputs, work.inputs.recipe
    teacher = _teacher(work)
    network = _trainable(work.network_after("dense"))
    config = method_config(recipe, inputs.data, inputs.device)
    session = begin(config, network, inputs.plan) if inputs.schemes else None
    examples = examples_of(recipe, inputs.data, "method")
    phase = Phase("method", recipe.epochs.method, recipe.learning_rates.method, session, teacher, examples)
    return _run_phase(work, network, phase)


def fine_tune(work: Work) -> Found:
    """Train the weights that are left while the others stay zero."""
    inputs, recipe = work.inputs, work.inputs.recipe
    teacher = _teacher(work)
    network = _trainable(work.network_after("method"))
    session = begin(MaskedFineTuning(), network, inputs.plan) if inputs.schemes else None
    rate, examples = recipe.learning_rates.fine_tune, examples_of(recipe, inputs.data, "fine_tune")
    phase = Phase("fine_tune", recipe.epochs.fine_tune, rate, session, teacher, examples)
    return _run_phase(work, network, phase)


def _run_phase(work: Work, network: nn.Module, phase: Phase) -> Found:
    """Train the epochs that are left, finish the session, and keep the network."""
    recipe, data = work.inputs.recipe, work.inputs.data
    _trainable(network)
    optimizer = sgd(network, phase.learning_rate, recipe.weight_decay)
    first = _restore(work, network, phase, optimizer)
    seed = phase_seed(recipe.seed, phase.name)

    def after_epoch(result: EpochResult) -> None:
        _keep_epoch(work, network, phase, optimizer, result)
        seed_everything(seed + result.epoch + 1)

    seed_everything(seed + first)
    train(
        Logits(network),
        data if phase.examples is None else replace(data, train=phase.examples),
        phase.epochs,
        optimizer=optimizer,
        session=phase.session,
        teacher=phase.teacher,
        seed=seed,
        first_epoch=first,
        on_step=lambda done, steps: work.observer.advance(done / steps),
        on_epoch=after_epoch,
        on_scores=None if phase.examples is None else phase.examples.after_batch,
        precision=getattr(torch, recipe.precision),
    )
    seed_everything(seed + phase.epochs)
    if phase.session is not None:
        phase.session.finish()
    if phase.name == "method" and recipe.method not in LEARN_NORMS:
        refresh_batch_norm(network, data.train)
    return Found(checkpoint=write_checkpoint(work.run, phase.name, {"network": network.state_dict()}))


def _restore(work: Work, network: nn.Module, phase: Phase, optimizer: Optimizer) -> int:
    """Put back what the last completed epoch of the phase left; returns the first epoch to train."""
    state = work.run.read_state()
    if state.checkpoint is None:
        return 0
    parts = read_checkpoint(work.run, state.checkpoint)
    load_network(network, parts["network"], work.run, state.checkpoint)
    _trainable(network)
    restore_optimizer(optimizer, parts.get("optimizer", {}))
    if phase.session is not None:
        phase.session.restore(parts.get("session", {}))
    if phase.examples is not None:
        phase.examples.sampler.restore(parts.get("examples", {}))
    return len(state.epochs_of(phase.name))


def _keep_epoch(
    work: Work, network: nn.Module, phase: Phase, optimizer: Optimizer, result: EpochResult
) -> None:
    """Write a completed epoch down: its checkpoint first, then the state that names it."""
    parts = {"network": network.state_dict(), "optimizer": optimizer_tensors(optimizer)}
    if phase.session is not None:
        parts["session"] = phase.session.state()
    if phase.examples is not None:
        phase.examples.after_epoch()
        parts["examples"] = phase.examples.sampler.state()
    checkpoint = write_checkpoint(work.run, f"{phase.name}-{result.epoch + 1}", parts)
    accuracy = evaluate(network, work.inputs.data.held_out).top1
    residual, dual = (
        max(found.values()) if phase.name == "method" and found else None
        for found in (result.residuals, result.dual_residuals)
    )
    used = phase.examples.sampler.used[-1] if phase.examples is not None else None
    record = EpochRecord(
        phase.name, result.epoch, result.loss, accuracy, residual, result.seconds, dual, used
    )
    work.run.write_state(work.run.read_state().after_epoch(record, checkpoint))
    work.observer.epoch(record, phase.epochs)


def _teacher(work: Work) -> Teacher | None:
    if not work.inputs.recipe.distillation:
        return None
    dense = copy.deepcopy(work.network_after("dense")).eval().requires_grad_(False)
    return Teacher(Logits(dense))


def _trainable(network: nn.Module) -> nn.Module:
    """The network in the layout of the training loop: sessions and optimisers then keep theirs in it as well.

    Mixed layouts would round differently before and after an interruption.
    """
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
