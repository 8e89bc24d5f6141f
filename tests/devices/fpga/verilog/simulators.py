"""Which simulators of Verilog are here."""

import pytest

from spokeshave.devices.fpga.verilog.simulation import why_not_simulated


def needs(simulator):
    """A mark that skips a test where the simulator is missing, and says how to get it."""
    reason = why_not_simulated(simulator)
    return pytest.mark.skipif(reason is not None, reason=reason or "")
