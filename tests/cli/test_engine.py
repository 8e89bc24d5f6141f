"""The verb that answers which formats and which engine reach a rate."""

import json

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
