"""The verb that answers which formats and which engine reach a rate."""

import json

import pytest

from spokeshave.devices import load_device

COMMAND = ("devices", "engine", "zcu102", "parts.py:network", "--shape", "1x8x8")


def test_an_engine_for_a_rate(folder, spokeshave):
    code, out, err = spokeshave(*COMMAND, "--rate", "100", "--dsp", "200", "--json", "--output", "mine.toml")
    assert code == 0, err
    found = json.loads(out)
    assert (found["precision"], found["kind"]) == ("8 bits", "modelled")
    assert found["samples_per_second"] >= 100
    assert found["used"]["dsp"] <= 200
    assert load_device(str(folder / "mine.toml")).engine.columns == found["engine"]["columns"]


def test_only_fpgas_have_engines(spokeshave):
    code, _, err = spokeshave(
        "devices", "engine", "isaac", "parts.py:network", "--shape", "1x8x8", "--rate", "1"
    )
    assert code == 2
    assert "isaac is no FPGA" in err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--dsp", "-5"), "dsp must be 0 or more, not -5"),
        (
            ("--dsp", "0"),
            "no engine for this network fits zcu102: the multipliers that rescale its sums take 16",
        ),
        (("--lut", "0"), "its smallest lanes are too large for 2,016 DSP, 0 LUT, "),
        (
            ("--output", "nowhere/mine.toml"),
            "there is no folder nowhere to write mine.toml to",
        ),
        (("--output", "."), ". is a folder; name a file in it, such as mine.toml"),
    ],
)
def test_impossible_budgets_and_files_are_one_sentence(folder, spokeshave, options, sentence):
    code, _, err = spokeshave(*COMMAND, "--rate", "100", *options)
    assert code == 2
    assert sentence in err
