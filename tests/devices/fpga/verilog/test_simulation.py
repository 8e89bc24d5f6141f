"""Where no simulator is, one sentence says what is missing and how to get it."""

import pytest

from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.verilog.engine_run import simulated_engine
from spokeshave.devices.fpga.verilog.simulation import PROGRAMS, find_simulator
from spokeshave.errors import SpokeshaveError

SMALL = Engine(Lanes(int8=2), columns=4, depth=8, positions=8, load_bytes=8, outputs=2)


@pytest.mark.parametrize("simulator", PROGRAMS)
def test_a_missing_simulator_is_told(simulator, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = f"{PROGRAMS[simulator][0]}.* not found; `apt-get install .* brings a simulator .*models need none"
    with pytest.raises(SpokeshaveError, match=told):
        simulated_engine(SMALL, tmp_path, simulator)
    with pytest.raises(SpokeshaveError, match="no simulator of Verilog is installed"):
        find_simulator()
