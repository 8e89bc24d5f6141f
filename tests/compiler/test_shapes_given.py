"""Shapes found without data, once for an operation, its inputs and its weights."""

import pytest
import torch

from spokeshave.compiler import shapes_given as module
from spokeshave.compiler.operations import Linear
from spokeshave.compiler.shapes_given import shapes_given

LAYER, INPUT = Linear(weight="w", bias="b"), ((1, 5, 3), torch.float32)
WEIGHTS = {"w": torch.zeros(4, 3), "b": torch.zeros(4)}


def shapes(weights, given=INPUT):
    return shapes_given(LAYER, (given,), weights, (1, 5, 4))


@pytest.fixture
def runs(monkeypatch):
    """How often an operation ran; nothing is remembered from before."""
    monkeypatch.setattr(module, "_remembered", {})
    made, run = [], module.run_operation
    monkeypatch.setattr(module, "run_operation", lambda *given: (made.append(given), run(*given))[1])
    return made


def test_an_operation_runs_once_for_its_inputs_and_weights(runs):
    assert shapes(WEIGHTS) == shapes({**WEIGHTS, "another": torch.zeros(2)}) == ((1, 5, 4),)
    assert len(runs) == 1


def test_other_weights_under_the_same_name_are_other_shapes(runs):
    assert shapes(WEIGHTS) == ((1, 5, 4),)
    assert shapes({"w": torch.zeros(7, 3), "b": torch.zeros(7)}) == ((1, 5, 7),)
    assert shapes(WEIGHTS) == ((1, 5, 4),)


def test_other_inputs_are_other_shapes(runs):
    assert shapes(WEIGHTS) == ((1, 5, 4),)
    assert shapes(WEIGHTS, ((1, 6, 3), torch.float32)) == ((1, 6, 4),)


def test_what_cannot_run_is_told_each_time(runs):
    assert shapes(WEIGHTS) == ((1, 5, 4),)
    for _ in range(2):
        with pytest.raises(KeyError):
            shapes({"b": torch.zeros(4)})
        with pytest.raises(RuntimeError):
            shapes({"w": torch.zeros(4, 2), "b": torch.zeros(4)})


def test_what_is_remembered_is_bounded(runs, monkeypatch):
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    for steps in range(1, 9):
        shapes(WEIGHTS, ((1, steps, 3), torch.float32))
    assert 1 <= len(module._remembered) <= 3
