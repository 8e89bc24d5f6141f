"""What devices propose: plans that they can use themselves, made as their hardware is."""

import pytest
import torch
from torch import nn

from spokeshave.devices import load_device
from spokeshave.devices.fpga.engine import Lanes
from spokeshave.devices.proposals import proposed
from spokeshave.networks.binary import binary_digits_network
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import Binary, FixedPoint, PowerOfTwo
from spokeshave.workload import trace

DEVICES = ("zcu102", "forms", "isaac", "integers-multiplier", "integers-shift")


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip


def work(made=None, shape=(1, 8, 8)):
    return trace((made or network()).eval(), torch.zeros(1, *shape))


def schemes_of(device, workload, made):
    return proposed(device, workload).plan.resolve(made)


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_can_use_its_own_proposal(name):
    made = (
        network() if name != "forms" else nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(288, 4))
    )
    device, workload = load_device(name), work(made)
    proposal = proposed(device, workload)
    assert device.cost(workload, proposal.plan).energy_joules > 0


def test_what_a_device_cannot_use_stays_dense():
    made = network()
    found = schemes_of(load_device("zcu102"), work(made), made)
    assert set(found) == {"0.weight", "3.weight", "7.weight"}  # rows of a transposed weight are inputs


def test_rows_are_shared_out_as_lanes_are():
    device = load_device("zcu102")
    engine = device.engine
    made, workload = network(), work()
    for lanes, inner in (
        (Lanes(int8=16, shift=16), MixedRows(FixedPoint(8), PowerOfTwo(4), 0.5)),
        (Lanes(int8=24, shift=8), MixedRows(FixedPoint(8), PowerOfTwo(4), 0.25)),
        (Lanes(int8=16), FixedPoint(8)),
        (Lanes(int4=16), FixedPoint(4)),
    ):
        other = device.with_engine(type(engine)(lanes, columns=16, depth=64, positions=16))
        found = schemes_of(other, workload, made)
        assert found["3.weight"] == inner
        assert found["0.weight"] == found["7.weight"] == (FixedPoint(8) if lanes.int8 else FixedPoint(4))


def test_cells_of_sizes_get_fragments_of_one_sign():
    made = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(288, 4))
    found = schemes_of(load_device("forms").with_figures(rows_at_once=16), work(made), made)
    assert set(found.values()) == {Intersection((Polarized(16), FixedPoint(8)))}


@pytest.mark.parametrize("name", ["aqfp", "zcu102-binary"])
def test_devices_of_signs_get_signs_but_for_the_last_layer(name):
    made, device = binary_digits_network(), load_device(name)
    proposal = proposed(device, work(made, (1, 16, 16)))
    assert proposal.method == "randomized_binary"
    assert proposal.plan.resolve(made) == {"2.weight": Binary(), "5.weight": Binary()}


def test_how_much_smaller_is_for_the_user_to_say_on_phones():
    assert proposed(load_device("galaxy-s10"), work()) is None
