import pytest
from tests.tokens.networks import Block

from spokeshave.devices import HostDevice, load_device
from spokeshave.devices.staircase import block_staircase
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder


def test_what_was_timed_here_is_kept() -> None:
    block = Block(32, 4)
    steps = block_staircase(block, 32, [8, 64, 16], HostDevice())
    assert steps.kind == "measured"
    assert steps.counts == (8, 16, 64)
    assert min(steps.seconds) > 0
    kept = list((cache_folder() / "staircases").iterdir())
    assert (
        block_staircase(Block(32, 4), 32, [8, 16, 64], HostDevice()) == steps
    )  # other weights, the same shapes
    assert list((cache_folder() / "staircases").iterdir()) == kept


def test_other_devices_are_asked() -> None:
    steps = block_staircase(Block(32, 4), 32, [8, 64], load_device("raspberry-pi-4"))
    assert steps.kind == "modelled"
    assert steps.seconds[1] > steps.seconds[0] > 0
    with pytest.raises(SpokeshaveError, match="at 1 token or more"):
        block_staircase(Block(32, 4), 32, [0], HostDevice())
