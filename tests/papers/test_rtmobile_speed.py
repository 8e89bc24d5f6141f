"""Products of the peers, the fit of a fixed cost, and what RTMobile's part about speed decides by itself."""

import pytest
import torch
from papers.masks import block_structured
from papers.pruning import plan_of
from papers.rtmobile_speed import FORMS, STEPS, by_threads, energy, products, quickest
from papers.speech import Recognizer
from papers.speech_trials import pruned_names

from spokeshave.methods import OneShot, begin


def test_every_form_of_a_matrix_gives_the_same_products():
    pytest.importorskip("scipy")
    torch.manual_seed(0)
    network = Recognizer("gru", 5, 8, 2, 3)
    plan = plan_of(network, pruned_names(network), block_structured(2, 2)[-1])
    begin(OneShot(), network, plan).finish()
    dense, *sparse = (products(network, *form)() for form in FORMS.values())
    assert [tuple(one.shape) for one in dense] == [(24, STEPS), (24, STEPS), (24,), (24,)]
    for found in sparse:
        for one, other in zip(dense, found, strict=True):
            assert torch.allclose(one, torch.as_tensor(other), atol=1e-5)


@pytest.mark.parametrize(
    ("times", "verdicts"),
    [
        ([10.0, 2.0, 1.1], ["reproduced"] * 3),
        ([10.0, 2.0, 2.1], ["not reproduced", "reproduced", "not reproduced"]),
        ([10.0, 2.0, 0.1], ["reproduced", "not reproduced", "reproduced"]),
    ],
)
def test_time_speed_and_peers_are_judged_by_rate(times, verdicts):
    weights = {"dense": 1_000_000, "BSP 10x": 100_000, "BSP 100x": 10_000}
    peers = {"PyTorch": 20.0, "PyTorch CSR 10x": 3.0, "PyTorch CSR 100x": 2.0}
    milliseconds = dict(zip(weights, times, strict=True)) | peers
    run = {
        "load_average": 0.1,
        "times": {label: {"milliseconds": value} for label, value in milliseconds.items()},
    }
    assert [one.verdict for one in by_threads("1", run, weights)] == verdicts


def test_of_single_calls_the_quickest_counts():
    found = quickest({"a": lambda: sum(range(10)), "b": lambda: sum(range(100_000))}, 2)
    assert found["a"]["milliseconds"] < found["b"]["milliseconds"] <= found["b"]["median"]


def test_energy_is_modelled_and_no_test_of_the_claim():
    entries = {
        "dense": {"microseconds": 100.0, "millijoules": 0.2},
        "BSP 10x": {"microseconds": 10.0, "millijoules": 0.02},
    }
    finding = energy({"galaxy-s10-gpu": entries, "galaxy-s10-cpu": entries})
    assert "modelled" in finding.claim
    assert finding.verdict == "differs"
    assert "20x" in finding.measured
