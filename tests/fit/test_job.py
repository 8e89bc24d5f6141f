"""The whole job on a tiny network, and its resumption at every epoch and step."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from tests.fit.stopping import StoppedError, Watcher, assert_resumes

from spokeshave.compiler import load_deployment
from spokeshave.errors import SpokeshaveError
from spokeshave.fit import Recipe, resume_run, start_run
from spokeshave.fit.job import NATIVE
from spokeshave.fit.recipe import Examples
from spokeshave.fit.run_folder import STATE
from spokeshave.plan import Plan
from spokeshave.schemes.registry import SCHEMES
from spokeshave.schemes.unstructured import Unstructured


@pytest.fixture(scope="module")
def folder(shared_recipe):
    """A finished run."""
    return shared_recipe.parent / "whole"


@pytest.fixture(scope="module")
def job(shared_recipe):
    return Recipe.from_yaml(shared_recipe.read_text())


@pytest.fixture(scope="module")
def finished(job, folder):
    return start_run(job, folder, "the command", Watcher())


def test_the_whole_job(job, finished, folder):
    assert json.loads((folder / "result.json").read_text()) == finished
    assert 3.5 <= finished["compression"] <= 4.5
    assert 1 < finished["compression_network"] < finished["compression"]
    assert finished["dense_accuracy"] > 0.9
    assert finished["deployment_accuracy"] > finished["random_baseline_accuracy"]
    assert finished["max_relative_error"] < 1e-5
    assert finished["best_dense_peer"] == "PyTorch eager"
    assert {row["name"] for row in finished["table"]} == {"spokeshave", "PyTorch eager"}
    assert [epoch["phase"] for epoch in finished["epochs"]] == ["dense"] * 2 + ["method"] * 2 + [
        "fine_tune"
    ] * 2
    assert finished["recipe_digest"] == job.digest
    assert set(finished["wall_seconds"]) == {step.name for step in NATIVE}
    assert "the command" in (folder / "report.html").read_text()


def test_the_deployment_lies_in_the_plan_and_is_what_was_trained(job, finished, folder):
    state = json.loads((folder / STATE).read_text())
    checkpoint = next(step["checkpoint"] for step in state["steps"] if step["name"] == "fine_tune")
    network = _network_of(job)
    network.load_state_dict(
        {k.removeprefix("network/"): v for k, v in load_file(folder / checkpoint).items()}
    )
    for name, scheme in Plan.load(folder / "plan.yaml").resolve(network).items():
        assert scheme.contains(network.get_parameter(name).detach())
    images = torch.randn(5, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(load_deployment(folder / "deployment")(images), network.eval()(images))


def test_resuming_a_finished_run_changes_nothing(finished, folder):
    watcher = Watcher()
    assert resume_run(folder, watcher) == finished
    assert not watcher.heard


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "admm"},
        {"method": "one_shot", "distillation": False},
        {"method": "reconstruction"},
        {"examples": Examples(keep=0.75)},
    ],
)
def test_resume_equals_the_uninterrupted_run(job, tmp_path, changes):
    job = job.model_copy(update=changes)
    assert_resumes(job, tmp_path / "whole", start_run(job, tmp_path / "whole"), tmp_path / "parts")


def test_fewer_examples_are_trained_on_and_counted(job, tmp_path):
    result = start_run(job.model_copy(update={"examples": Examples(keep=0.75)}), tmp_path / "fewer")
    assert [epoch["examples"] for epoch in result["epochs"]] == [144] * 6
    assert "Examples used: 144, 144, 144, 144, 144, 144." in (tmp_path / "fewer" / "report.html").read_text()


def test_another_network_than_the_runs_is_one_sentence(recipe, tmp_path):
    job, parts = Recipe.from_yaml(recipe.read_text()), recipe.with_name("parts.py")
    with pytest.raises(StoppedError):
        start_run(job, tmp_path / "run", observer=Watcher(5))
    parts.write_text(
        parts.read_text()
        .replace("nn.Conv2d(16, 16, 1)", "nn.Conv2d(16, 24, 1)")
        .replace("Linear(16", "Linear(24")
    )
    with pytest.raises(SpokeshaveError, match="belongs to another network than the recipe's"):
        resume_run(tmp_path / "run")


def _network_of(job):
    from spokeshave.references import resolve_network

    return resolve_network(job.network)


OWN_SCHEME = """
from dataclasses import dataclass

from spokeshave.schemes.registry import SCHEMES
from spokeshave.schemes.unstructured import Unstructured


@dataclass(frozen=True)
class Own(Unstructured):
    pass


SCHEMES["own"] = Own
"""


def test_a_run_with_a_scheme_of_the_networks_module_goes_on(recipe, tmp_path, monkeypatch):
    """A new process knows the scheme once it has imported the module."""
    monkeypatch.setitem(SCHEMES, "own", Unstructured)  # taken out again behind the test
    parts = recipe.with_name("parts.py")
    parts.write_text(parts.read_text() + OWN_SCHEME)
    job = Recipe.from_yaml(recipe.read_text())
    plan = tmp_path / "own.yaml"
    plan.write_text('version: 1\nlayers:\n  "3": {scheme: own, sparsity: 0.5}\n')
    job = job.model_copy(update={"plan": str(plan), "compression": None})
    with pytest.raises(StoppedError):
        start_run(job, tmp_path / "run", observer=Watcher(3))
    del SCHEMES["own"]
    for name in [
        name for name, module in sys.modules.items() if getattr(module, "__file__", "") == str(parts)
    ]:
        del sys.modules[name]
    assert resume_run(tmp_path / "run")["compression"] == pytest.approx(2)
