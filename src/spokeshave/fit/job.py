"""The whole job as named steps: train, prune, fine-tune, compile, check, evaluate, time, report.

A step reads what earlier steps left in the run folder and leaves facts (JSON) and perhaps a checkpoint there
itself, so a run that was stopped at any moment goes on where it was, and ends as if it had never stopped.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spokeshave.devices import HostDevice
from spokeshave.fit import modelled, outcome, training
from spokeshave.fit.inputs import Inputs, gather
from spokeshave.fit.observer import Observer, Silent
from spokeshave.fit.recipe import Recipe
from spokeshave.fit.run_folder import (
    PLAN,
    RECIPE,
    REPORT,
    RESULT,
    check_run_folder,
    create_run,
    open_run,
)
from spokeshave.fit.state import State, StepRecord
from spokeshave.fit.work import Found, Work
from spokeshave.plan import Plan
from spokeshave.report.page import page

Result = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A named step of the job."""

    name: str
    title: str
    run: Callable[[Work], Found]


TRAINING = (
    Step("dense", "train dense", training.train_dense),
    Step("method", "prune", training.apply_method),
    Step("fine_tune", "fine-tune", training.fine_tune),
)
TOKENS = Step("tokens", "place token reducers", training.place_reducers)
NATIVE = (
    Step("prepare", "profile dense", outcome.prepare),
    *TRAINING,
    Step("compile", "compile", outcome.compile_fitted),
    Step("check", "check", outcome.check),
    Step("evaluate", "evaluate", outcome.evaluate_all),
    Step("time", "time beside peers", outcome.time_beside_peers),
    Step("layers", "profile layers", outcome.profile_layers),
)
MODELLED = (
    *TRAINING,
    Step("deploy", "deploy", modelled.deploy),
    Step("evaluate", "evaluate", modelled.evaluate_all),
    Step("noise", "vary the noise", modelled.vary_noise),
)


def steps_of(inputs: Inputs) -> tuple[Step, ...]:
    """What is done for a device: this CPU is measured, others are modelled; token reducers follow the dense phase."""
    steps = NATIVE if isinstance(inputs.device, HostDevice) else MODELLED
    if not inputs.reducers:
        return steps
    trained = [step.name for step in steps].index("dense") + 1
    return *steps[:trained], TOKENS, *steps[trained:]


def start_run(
    recipe: Recipe, folder: Path, command: str = "", observer: Observer | None = None, replace: bool = False
) -> Result:
    """Do the whole job in a new run folder and return its result.

    `command` is what the report names as its origin; with `replace` an older run in `folder` gives way.
    Everything that can be wrong with the recipe raises SpokeshaveError before anything is written.
    """
    check_run_folder(folder, replace)
    with _settings(recipe):
        inputs = gather(recipe)
        _try_out(inputs)
        files = {RECIPE: inputs.recipe.to_yaml(), PLAN: inputs.plan.to_yaml()}
        run = create_run(folder, files, State(command=command), replace)
        with run.locked():
            return _finish(Work(inputs, run, observer or Silent()))


def resume_run(folder: Path, observer: Observer | None = None) -> Result:
    """Go on with a run from its last completed epoch or step, and return its result."""
    run = open_run(folder)
    with run.locked():
        if run.read_state().finished:
            return json.loads(run.read_text(RESULT))
        recipe = Recipe.from_yaml(run.read_text(RECIPE), str(folder / RECIPE))
        with _settings(recipe):
            inputs = gather(recipe, lambda: Plan.from_yaml(run.read_text(PLAN), str(folder / PLAN)))
            return _finish(Work(inputs, run, observer or Silent()))


def _try_out(inputs: Inputs) -> None:
    """A network that the device cannot run, or the compiler cannot compile, is known before it is trained."""
    if isinstance(inputs.device, HostDevice):
        outcome.deploy_dense(inputs)
        if inputs.reducers:
            outcome.deploy_reduced(inputs)
    else:
        modelled.try_out(inputs)


def _finish(work: Work) -> Result:
    """Run the steps that are left, then write the result and the report."""
    for step in steps_of(work.inputs):
        if work.run.read_state().step(step.name) is None:
            _run_step(step, work)
    return _report(work)


def _run_step(step: Step, work: Work) -> None:
    work.observer.begin(step.title)
    started = time.perf_counter()
    found = step.run(work)
    seconds = time.perf_counter() - started
    record = StepRecord(step.name, seconds, found.facts, found.checkpoint)
    work.run.write_state(work.run.read_state().after_step(record))
    work.observer.finish(seconds)


def _report(work: Work) -> Result:
    state = work.run.read_state()
    made_result = outcome.result if isinstance(work.inputs.device, HostDevice) else modelled.result
    result = made_result(work, state)
    work.run.write(REPORT, page(result))
    work.run.write(RESULT, json.dumps(result, indent=1))
    work.run.write_state(state.after_step(StepRecord("report", 0.0)))
    return result


@contextlib.contextmanager
def _settings(recipe: Recipe) -> Iterator[None]:
    """The recipe's threads and deterministic operators while the block runs."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(recipe.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
