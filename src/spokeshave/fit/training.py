"""The phases of a job that train: dense, method, fine-tuning; each goes on from its last completed epoch.

Every epoch is seeded by (seed, phase, epoch), so that no generator's state has to be kept.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

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
from spokeshave.fit.tokens import (
    Reducers,
    by_staircase,
    calibrated,
    plan_beside,
    put_in,
    token_budget,
    token_sessions,
)
from spokeshave.fit.work import Found, Work
from spokeshave.measure.accuracy import evaluate
from spokeshave.methods import (
    EpochResult,
    MaskedFineTuning,
    Session,
    Teacher,
    Together,
    begin,
    refresh_batch_norm,
    train,
)
from spokeshave.methods.training import adamw, sgd
from spokeshave.samples import PrunedLoader

OPTIMIZERS = {"sgd": sgd, "adamw": adamw}
LEARN_NORMS = ("randomized_binary",)  # methods whose batch norms learn what the device gives


@dataclass(frozen=True)
class Phase:
    """A stretch of training: its name in the run, epochs, peak learning rate, session and teacher if any.

    `reducers` are those that stand in the network, as plain data.
    """

    name: str
    epochs: int
    learning_rate: float
    session: Session | None = None
    teacher: Teacher | None = None
    examples: PrunedLoader | None = None
    reducers: Reducers = ()


def train_dense(work: Work) -> Found:
    """Train the dense network; without epochs the network is taken as it came."""
    recipe = work.inputs.recipe
    examples = examples_of(recipe, work.inputs.data, "dense")
    phase = Phase("dense", recipe.epochs.dense, recipe.learning_rates.dense, examples=examples)
    return _run_phase(work, work.inputs.network, phase)


def place_reducers(work: Work) -> Found:
    """Put the recipe's token reducers into the trained dense network, where told or by the device's staircase."""
    inputs, recipe = work.inputs, work.inputs.recipe
    assert recipe.tokens is not None
    network, train_data = work.network_after("dense"), inputs.data.train
    seed_everything(phase_seed(recipe.seed, "tokens"))
    facts: dict[str, Any] = {"tokens": inputs.reducers}
    if recipe.tokens[0].limit is not None:
        budget = token_budget(recipe.tokens[0], network, inputs.example, inputs.device)
        facts = by_staircase(recipe.tokens[0], network, budget, train_data)
    put_in(network, facts["tokens"], recipe.seed)
    if all(one["decision"]["name"] == "threshold" for one in facts["tokens"]):
        facts["tokens"] = calibrated(network, facts["tokens"], train_data)
    return Found(facts, write_checkpoint(work.run, "tokens", {"network": network.state_dict()}))


def apply_method(work: Work) -> Found:
    """Bring the weights into the plan's schemes; token thresholds are set behind it, so that fine-tuning knows them."""
    inputs, recipe = work.inputs, work.inputs.recipe
    config = method_config(recipe, inputs.data, inputs.device)
    before = "tokens" if inputs.reducers else "dense"
    return _run_deciding(work, *_prepared(work, "method", before, config, recipe.learning_rates.method))


def fine_tune(work: Work) -> Found:
    """Train the weights that are left while the others stay zero; token thresholds are set anew behind it."""
    rate = work.inputs.recipe.learning_rates.fine_tune
    return _run_deciding(work, *_prepared(work, "fine_tune", "method", MaskedFineTuning(), rate))


def _run_deciding(work: Work, network: nn.Module, phase: Phase) -> Found:
    """A phase behind which token reducers decide by thresholds, and no longer by noise."""
    found = _run_phase(work, network, phase)
    if not phase.reducers:
        return found
    seed_everything(phase_seed(work.inputs.recipe.seed, "tokens"))
    return Found({"tokens": calibrated(network, phase.reducers, work.inputs.data.train)}, found.checkpoint)


def _prepared(work: Work, name: str, before: str, config: Any, rate: float) -> tuple[nn.Module, Phase]:
    """The network as the step before left it, and a phase of training with its session and teacher."""
    inputs, recipe = work.inputs, work.inputs.recipe
    dense, epochs = _dense_copy(work), getattr(recipe.epochs, name)
    teacher = Teacher(Logits(dense)) if dense is not None else None
    network = _trainable(work.network_after(before))
    reducers = work.facts_of(before).get("tokens", ())
    sessions: list[Session] = []
    if inputs.schemes:
        sessions.append(begin(config, network, plan_beside(inputs.plan, network)))
    if reducers and epochs:
        sessions += token_sessions(network, reducers, dense)
    session = Together(tuple(sessions)) if len(sessions) > 1 else sessions[0] if sessions else None
    examples = examples_of(recipe, inputs.data, name)
    return network, Phase(name, epochs, rate, session, teacher, examples, reducers)


def _run_phase(work: Work, network: nn.Module, phase: Phase) -> Found:
    """Train the epochs that are left, finish the session, and keep the network."""
    recipe, data = work.inputs.recipe, work.inputs.data
    _trainable(network)
    optimizer = OPTIMIZERS[recipe.optimizer](network, phase.learning_rate, recipe.weight_decay)
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
    facts = {"tokens": phase.reducers} if phase.reducers else {}
    return Found(facts, write_checkpoint(work.run, phase.name, {"network": network.state_dict()}))


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


def _dense_copy(work: Work) -> nn.Module | None:
    """Who teaches, where the recipe wants a teacher."""
    if not work.inputs.recipe.distillation:
        return None
    return copy.deepcopy(work.network_after("dense")).eval().requires_grad_(False)


def _trainable(network: nn.Module) -> nn.Module:
    """The network in the layout of the training loop: sessions and optimisers then keep theirs in it as well.

    Mixed layouts would round differently before and after an interruption.
    """
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
