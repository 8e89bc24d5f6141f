"""`spokeshave devices selector`: the folder that it writes simulates to what must be written."""

import json

import pytest
from tests.cli.test_verilog import simulated
from tests.devices.fpga.verilog.simulators import needs

COMMAND = ("devices", "selector", "--tokens", "21", "--width", "12", "--columns", "4", "--output", "rtl")


@needs("icarus")
@pytest.mark.parametrize("threshold", [0, 130, 255])
def test_the_folder_simulates_to_what_must_be_written(threshold, folder, spokeshave):
    code, out, err = spokeshave(*COMMAND, "--threshold", str(threshold), "--json")
    assert code == 0, err
    assert json.loads(out)["modelled_cycles"] == 21 * 3 + (27 if threshold else 0)
    kept = len((folder / "rtl" / "expected.hex").read_text().split())
    assert kept == 63 if threshold == 0 else 6 <= kept < 63
    assert simulated(folder / "rtl").splitlines()[-1] == "the same"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--columns", "5"), "a token of 12 bytes is no whole number of words of 5: columns must divide it"),
        (("--tokens", "0"), "tokens of a token selector must be from 1 to 1048576, not 0"),
        (("--tokens", "100000000"), "tokens of a token selector must be from 1 to 1048576, not 100000000"),
        (("--tokens", "1000000", "--width", "160"), "more than the 67108864 bytes of the largest image"),
        (("--threshold", "256"), "threshold must be from 0 to 255, as scores are, not 256"),
    ],
)
def test_mistakes_are_one_sentence(options, sentence, spokeshave):
    code, _, err = spokeshave(*COMMAND, *options)
    assert code == 2
    assert sentence in " ".join(err.split())
