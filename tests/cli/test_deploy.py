"""`spokeshave deploy`, and the folder that it writes in `evaluate` and `run`."""

import json

import numpy as np
import pytest

SHAPE = ("--shape", "1x8x8")


@pytest.mark.parametrize("device", ["integers-shift", "integers-multiplier"])
def test_a_network_in_whole_numbers_is_evaluated_and_run(folder, spokeshave, device):
    pytest.importorskip("sklearn")
    command = ("deploy", "parts.py:network", *SHAPE, "--device", device, "--calibration", "digits")
    code, out, err = spokeshave(*command, "--output", "whole")
    assert code == 0, err
    assert f"whole numbers for {device}" in out
    assert "µJ a sample (modelled: array of integer units" in out
    code, out, err = spokeshave("evaluate", "whole", "--data", "parts.py:data", "--json")
    assert code == 0, err
    assert json.loads(out)["total"] == 6
    np.save(folder / "x.npy", np.zeros((3, 1, 8, 8), np.float32))
    code, out, err = spokeshave("run", "whole", "x.npy", "--output", "y.npy")
    assert code == 0, err
    assert len(np.load(folder / "y.npy")) == 3
    code, out, err = spokeshave(*command, "--output", "whole", "--json")
    assert code == 0, err
    assert set(json.loads(out)) == {"output", "device", "accumulator_bits", "float32"}


def test_other_devices_are_refused(folder, spokeshave):
    command = ("deploy", "parts.py:network", *SHAPE, "--calibration", "parts.py:data", "--output", "whole")
    code, _, err = spokeshave(*command, "--device", "galaxy-s10-cpu")
    assert code == 2
    assert "cost model, which cannot run networks" in err
    assert not (folder / "whole").exists()
