"""What engines take, held to what Yosys counted of them (`python -m bench.fpga_resources`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from spokeshave.devices.fpga import engine as sizes
from spokeshave.devices.fpga.resources import resources_of

RESULTS = Path(__file__).parents[3] / "bench/results"
FILES = sorted(RESULTS.glob("fpga_resources*.json"))
NAMES = ("dsp", "lut", "ff", "bram")
WITHIN = 0.10


def records() -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in FILES]


def engine_of(told: str) -> sizes.Engine:
    """An engine as it is printed; records say of some what they read, which follows from their lanes."""
    known = {"Engine": sizes.Engine, "Lanes": sizes.Lanes}
    for bits in (1, 8):
        told = told.replace(f"activation_bits={bits}, ", "")
    made = eval(told, {"__builtins__": {}}, known)
    assert isinstance(made, sizes.Engine)
    return made


ENGINES = [entry for record in records() for entry in record.get("engines", [])]


def test_engines_were_counted() -> None:
    assert len(ENGINES) >= 14


@pytest.mark.parametrize("entry", ENGINES, ids=lambda entry: entry["engine"].partition(", depth")[0])
def test_what_an_engine_takes_is_within_a_tenth_of_the_count(entry: dict[str, Any]) -> None:
    """None of these engines was among those that the costs were fitted to."""
    modelled = resources_of(engine_of(entry["engine"]))
    for name in NAMES:
        assert getattr(modelled, name) == pytest.approx(entry["counted"][name], rel=WITHIN), name


def test_a_requantizer_by_shifts_takes_a_twelfth_of_one_by_multiplication() -> None:
    found = [record["requantizers"] for record in records() if "requantizers" in record]
    assert found
    for one in found:
        for name in ("luts", "cells"):
            assert one["multiplier"][name] / one["shift"][name] >= 12
            assert one["ratio"][name] == pytest.approx(one["multiplier"][name] / one["shift"][name], abs=0.01)
