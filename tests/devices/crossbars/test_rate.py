"""How fast crossbars are simulated, from what was measured (`python -m bench.crossbar_rate`)."""

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[3] / "bench/results"
RUNS = [
    run
    for file in sorted(RESULTS.glob("crossbar_rate*.json"))
    for run in json.loads(file.read_text())["runs"]
    if run["threads"] == 2
]
WANTED = 1000  # images a minute


def test_both_chips_were_measured_on_two_threads() -> None:
    assert {(run["chip"], run["input_bits"]) for run in RUNS} >= {
        (chip, bits) for chip in ("forms", "isaac") for bits in (8, 16)
    }


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['chip']}-{run['input_bits']}")
def test_images_a_minute_on_two_threads(run: dict) -> None:
    assert run["images_a_minute_wall"] >= WANTED
