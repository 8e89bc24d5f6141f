"""`spokeshave verilog`: the folder that it writes simulates to what must come out."""

import json
import subprocess

import pytest
from tests.devices.fpga.verilog.simulators import needs

ENGINE = "int8=4 columns=6 depth=8 positions=16 load_bytes=16 outputs=4"


@pytest.fixture
def whole(folder, spokeshave):
    pytest.importorskip("sklearn")
    command = ("deploy", "parts.py:network", "--shape", "1x8x8", "--device", "zcu102")
    code, _, err = spokeshave(*command, "--calibration", "digits", "--output", "whole")
    assert code == 0, err
    return folder / "whole"


def layers(whole):
    document = json.loads((whole / "integers.json").read_text())
    return [entry["layer"] for entry in document["accumulators"]]


@needs("icarus")
def test_the_folder_simulates_to_what_must_come_out(whole, folder, spokeshave):
    layer = layers(whole)[0]
    command = (
        "verilog",
        "whole",
        "--layer",
        layer,
        "--engine",
        ENGINE,
        "--data",
        "digits",
        "--output",
        "rtl",
    )
    code, out, err = spokeshave(*command)
    assert code == 0, err
    assert "cycles (modelled)" in out
    readme = (folder / "rtl" / "README.md").read_text()
    commands = [line.strip() for line in readme.splitlines() if line.startswith(("    iverilog", "    vvp"))]
    finished = subprocess.run(
        ["bash", "-e", "-c", "\n".join(commands)],
        cwd=folder / "rtl",
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout.splitlines()[-1] == "the same", finished.stderr
    modelled = json.loads((folder / "rtl" / "verilog.json").read_text())["modelled_cycles"]
    assert f"{modelled} cycles" in finished.stdout
    code, _, err = spokeshave(*command)  # in place of the old one
    assert code == 0, err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--layer", "nothing"), "the deployment has no layer 'nothing' with sums; it has"),
        (("--layer", "LAYER", "--device", "integers-shift"), "integers-shift is no FPGA"),
        (("--layer", "LAYER", "--engine", "int9=4"), "--engine takes name=number of int8, int4"),
        (("--layer", "LAYER", "--engine", "binary=4"), "--engine takes name=number of int8, int4, shift, c"),
        (
            ("--layer", "LAYER", "--engine", "int8=3"),
            "int8 lanes come in pairs, for two share a DSP block, not 3",
        ),
    ],
)
def test_mistakes_are_one_sentence(whole, spokeshave, options, sentence):
    given = [layers(whole)[0] if option == "LAYER" else option for option in options]
    code, _, err = spokeshave("verilog", "whole", *given, "--output", "rtl")
    assert code == 2
    assert sentence in err
