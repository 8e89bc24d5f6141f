"""`spokeshave verilog`: the folder that it writes simulates to what must come out."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.devices.fpga.verilog.simulators import needs

from spokeshave import devices

MODELLED = Path(devices.__file__).parent / "modelled"

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
        "parts.py:data",
        "--output",
        "rtl",
    )
    code, out, err = spokeshave(*command)
    assert code == 0, err
    assert "cycles (modelled)" in out
    printed = simulated(folder / "rtl")
    assert printed.splitlines()[-1] == "the same"
    modelled = json.loads((folder / "rtl" / "verilog.json").read_text())["modelled_cycles"]
    assert f"{modelled} cycles" in printed
    code, _, err = spokeshave(*command)  # in place of the old one
    assert code == 0, err


PRUNED = """

def pruned():
    torch.manual_seed(0)
    made = network()
    with torch.no_grad():
        made[4].weight[:4, :8] = 0
        made[4].weight[8:, 3:6] = 0
    return made
"""


@needs("icarus")
def test_a_layer_in_compressed_blocks_simulates_on_the_csb_engine(whole, folder, spokeshave):
    layer = "4"
    with (folder / "parts.py").open("a") as file:
        file.write(PRUNED)
    command = ("deploy", "parts.py:pruned", "--shape", "1x8x8", "--device", "zcu102")
    code, _, err = spokeshave(*command, "--calibration", "digits", "--output", "blocks")
    assert code == 0, err
    given = ("--engine", "csb block=4x8 lanes=2 columns=3", "--data", "parts.py:data", "--output", "rtl")
    code, _, err = spokeshave("verilog", "whole", "--layer", layer, *given)
    assert code == 2
    assert "cannot compute 4: its blocks of 4x8 keep every row and column: the plan gives it no scheme" in err
    code, out, err = spokeshave("verilog", "blocks", "--layer", layer, *given)
    assert code == 0, err
    assert "4 on the CSB engine, 2 lanes of 2 x 3" in out
    assert simulated(folder / "rtl").splitlines()[-1] == "the same"


SIGNS = """

def signs():
    from spokeshave.networks.binary import binary_perceptron
    from spokeshave.schemes.quantizers import Binary

    torch.manual_seed(0)
    made = binary_perceptron(256, (20, 12), 10).eval()
    for layer in (made[2], made[5]):
        layer.weight.data = Binary().project(layer.weight.data)
    return made
"""
SIGNED = """
version: 1
layers:
  "8": dense
  "*": {scheme: binary}
"""


@needs("icarus")
@pytest.mark.parametrize("device", ["zcu102", "zcu102-binary"])
def test_a_layer_of_signs_simulates_on_binary_lanes(device, folder, spokeshave):
    pytest.importorskip("sklearn")
    with (folder / "parts.py").open("a") as file:
        file.write(SIGNS)
    (folder / "signs.yaml").write_text(SIGNED)
    command = ("deploy", "parts.py:signs", "--shape", "1x16x16", "--device", device)
    planned = ("--plan", "signs.yaml", "--calibration", "digits", "--output", "signs")
    code, _, err = spokeshave(*command, *planned)
    assert code == 0, err
    engine = "binary=8 columns=24 depth=8 positions=16 load_bytes=16 outputs=4"
    given = ("--device", device, "--engine", engine, "--data", "digits", "--output", "rtl")
    code, out, err = spokeshave("verilog", "signs", "--layer", "5", *given)
    assert code == 0, err
    assert "5 on 8 lanes of 24 columns" in out
    assert simulated(folder / "rtl").splitlines()[-1] == "the same"


def simulated(rtl):
    """What the commands of the folder's README for Icarus Verilog print."""
    readme = (rtl / "README.md").read_text()
    commands = [line.strip() for line in readme.splitlines() if line.startswith(("    iverilog", "    vvp"))]
    finished = subprocess.run(
        ["bash", "-e", "-c", "\n".join(commands)], cwd=rtl, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--layer", "LAYER", "--engine", "csb lanes=4"),
            "--engine csb needs the plan's blocks, such as block",
        ),
        (("--layer", "nothing"), "the deployment has no layer 'nothing' with sums; it has"),
        (("--layer", "LAYER", "--device", "integers-shift"), "integers-shift is no FPGA"),
        (("--layer", "LAYER", "--engine", "int9=4"), "--engine takes name=number of int8, int4"),
        (
            ("--layer", "LAYER", "--engine", "binary=4"),
            "binary lanes multiply -1 and 1 alone, and among the inputs",
        ),
        (
            ("--layer", "LAYER", "--engine", "int8=3"),
            "int8 lanes come in pairs, for two share a DSP block, not 3",
        ),
        (("--layer", "LAYER", "--engine", "int8=²"), "--engine takes name=number of int8, int4"),
        (("--layer", "LAYER", "--engine", "int8=" + "9" * 5000), "--engine takes name=number of int8, int4"),
        (("--layer", "LAYER", "--engine", "csb block=²x3"), "--engine csb needs the plan's blocks"),
        (
            ("--layer", "LAYER", "--engine", "csb block=4x8 lanes=20000 columns=64"),
            "zcu102: a CSB engine of 20000 lanes of 2 x 64 needs 1,280,000 DSP, 634.92 times the 2,016",
        ),
        (("--layer", "LAYER", "--engine", "int8=8 int8=2"), "--engine takes int8 once, not both 8 and 2"),
        (
            ("--layer", "LAYER", "--data", "parts.py:large_images"),
            "input 0 has shape (1, 3, 16, 16), the network takes (any number of samples, 1, 8, 8)",
        ),
    ],
)
def test_mistakes_are_one_sentence(whole, spokeshave, options, sentence):
    given = [layers(whole)[0] if option == "LAYER" else option for option in options]
    code, _, err = spokeshave("verilog", "whole", *given, "--output", "rtl")
    assert code == 2
    assert sentence in err


def changed(device, key, value):
    """The text of a modelled device with another value in one of its tables."""
    head, _, tail = MODELLED.joinpath(f"{device}.toml").read_text().partition(f"[{key}]\nvalue = ")
    return f"{head}[{key}]\nvalue = {value}\n{tail.partition(chr(10))[2]}"


def test_weights_that_no_lane_holds_are_refused(folder, spokeshave):
    pytest.importorskip("sklearn")
    (folder / "wide.toml").write_text(changed("integers-multiplier", "weight_bits", 16))
    command = ("deploy", "parts.py:network", "--shape", "1x8x8", "--device", "wide.toml")
    code, _, err = spokeshave(*command, "--calibration", "digits", "--output", "whole")
    assert code == 0, err
    code, _, err = spokeshave(
        "verilog",
        "whole",
        "--layer",
        layers(folder / "whole")[0],
        "--engine",
        "int8=4 columns=4",
        "--output",
        "rtl",
    )
    assert code == 2
    assert "int8 lanes take weights from -127 to 127, and one is 32767 away from 0" in err
    assert not (folder / "rtl").exists()


@pytest.mark.parametrize("bits", [16, 20])
def test_narrow_accumulators_are_refused(bits, whole, folder, spokeshave):
    (folder / "narrow.toml").write_text(changed("zcu102", "accumulator_bits", bits))
    given = ("--layer", layers(whole)[1], "--device", "narrow.toml", "--output", "rtl")
    code, _, err = spokeshave("verilog", "whole", *given)
    assert code == 2
    assert f"{bits} bits" in err
