"""`spokeshave deploy`, and the folder that it writes in `evaluate` and `run`."""

import json
import re

import numpy as np
import pytest

from spokeshave.cli.deploy import _cost_lines
from spokeshave.deployment import Cost

SHAPE = ("--shape", "1x8x8")
SIGNS = """
from spokeshave.networks import binary_perceptron
from spokeshave.schemes.quantizers import Binary


def network():
    made = binary_perceptron(64, (8,), 3)
    for name, weight in made.named_parameters():
        if weight.dim() == 2:
            weight.data = Binary().project(weight.data)
    return made
"""


@pytest.mark.parametrize("device", ["integers-shift", "integers-multiplier"])
def test_a_network_in_whole_numbers_is_evaluated_and_run(folder, spokeshave, device):
    pytest.importorskip("sklearn")
    command = ("deploy", "parts.py:network", *SHAPE, "--device", device, "--calibration", "digits")
    code, out, err = spokeshave(*command, "--output", "whole")
    assert code == 0, err
    assert f"whole numbers for {device}" in out
    assert re.search(r"[µn]s and [\d.]+ [µn]J a sample \(modelled: array of integer units", out)
    code, out, err = spokeshave("evaluate", "whole", "--data", "parts.py:data", "--json")
    assert code == 0, err
    assert json.loads(out)["total"] == 6
    np.save(folder / "x.npy", np.zeros((3, 1, 8, 8), np.float32))
    code, out, err = spokeshave("run", "whole", "x.npy", "--output", "y.npy")
    assert code == 0, err
    assert len(np.load(folder / "y.npy")) == 3
    np.save(folder / "none.npy", np.zeros((0, 1, 8, 8), np.float32))
    assert spokeshave("run", "whole", "none.npy", "--output", "y.npy")[0] == 0
    assert len(np.load(folder / "y.npy")) == 0
    for second in ("none.npy", "x.npy"):  # of another name, and of the same
        code, _, err = spokeshave("run", "whole", "x.npy", second, "--output", "y.npy")
        assert code == 2
        assert "the deployment takes 1 inputs (input), 2 were given" in err
    code, out, err = spokeshave(*command, "--output", "whole", "--json")
    assert code == 0, err
    assert set(json.loads(out)) == {"output", "device", "accumulator_bits", "float32"}


def test_a_phone_gets_plain_c(folder, spokeshave):
    command = ("deploy", "parts.py:network", *SHAPE, "--output", "phone", "--device", "galaxy-s10-cpu")
    code, out, err = spokeshave(*command)
    assert code == 0, err
    assert "modelled" in out
    assert (folder / "phone" / "model.c").is_file()
    code, _, err = spokeshave("evaluate", "phone", "--data", "parts.py:data")
    assert code == 2
    assert (
        "phone is not a deployment that runs here: it is plain C, which its README.md says how to build"
        in err
    )


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("galaxy-s10-gpu", "cost model, which cannot run networks"),
        ("integers-shift", "it needs calibration data"),
        ("host", "host is this machine; see `spokeshave compile`"),
    ],
)
def test_what_cannot_be_deployed_is_told(folder, spokeshave, device, sentence):
    command = ("deploy", "parts.py:network", *SHAPE, "--output", "whole", "--device", device)
    code, _, err = spokeshave(*command)
    assert code == 2
    assert sentence in err
    assert not (folder / "whole").exists()


def test_simulations_are_evaluated_and_run_too(folder, spokeshave):
    command = ("deploy", "parts.py:network", *SHAPE, "--calibration", "parts.py:data", "--output", "whole")
    code, out, err = spokeshave(*command, "--device", "isaac")
    assert code == 0, err
    assert "whole numbers for isaac" in out
    code, out, err = spokeshave("evaluate", "whole", "--data", "parts.py:data", "--json")
    assert code == 0, err
    assert json.loads(out)["total"] == 6
    (folder / "signs.py").write_text(SIGNS)
    (folder / "signs.yaml").write_text("version: 1\nlayers: {'*': {scheme: binary}}\n")
    command = ("deploy", "signs.py:network", *SHAPE, "--plan", "signs.yaml", "--output", "signs")
    code, out, err = spokeshave(*command, "--device", "aqfp")
    assert code == 0, err
    assert "2 binary layers on columns of 36 cells, read for 16 clocks" in out
    np.save(folder / "x.npy", np.zeros((3, 1, 8, 8), np.float32))
    code, out, err = spokeshave("run", "signs", "x.npy", "--output", "y.npy")
    assert code == 0, err
    assert np.load(folder / "y.npy").shape == (3, 3)


def test_a_network_without_whole_layers_is_refused(folder, spokeshave):
    (folder / "none.py").write_text(
        "from torch import nn\n\n\ndef network():\n"
        "    return nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 2, 1), nn.Flatten())\n"
    )
    command = ("deploy", "none.py:network", *SHAPE, "--calibration", "parts.py:data", "--output", "whole")
    code, _, err = spokeshave(*command, "--device", "integers-multiplier")
    assert code == 2
    assert "integers-multiplier can run no layer of the network: 1: convolutions over 3 axes" in err
    assert not (folder / "whole").exists()


@pytest.mark.parametrize(
    ("cost", "lines"),
    [
        (Cost("modelled", "it", 2e-6, 3e-12), ["2 µs and 3 pJ a sample (modelled: it)"]),
        (Cost("modelled", "it", 2e-6), ["2 µs a sample (modelled: it)"]),
        (Cost("modelled", "it"), []),
        (
            Cost("modelled", "it", 1.0, left_out=(("a", "not binary"), ("b", "not binary"))),
            ["1 s a sample (modelled: it)", "Not counted: a, b (not binary)."],
        ),
    ],
)
def test_costs_are_told_as_far_as_they_are_known(cost, lines):
    assert _cost_lines(cost) == lines
