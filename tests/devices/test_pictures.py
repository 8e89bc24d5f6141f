"""Pictures and sweeps agree with the costs of their devices."""

import pytest
import torch
from torch import nn

from spokeshave.devices import load_device
from spokeshave.devices.pictures import pictures_of
from spokeshave.devices.sweeps import sweeps
from spokeshave.networks import binary_perceptron
from spokeshave.pictures import Gauges, Roofline, Shares
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import Binary
from spokeshave.workload import trace

NETWORK = nn.Sequential(
    nn.Conv2d(3, 24, 3), nn.ReLU(), nn.Conv2d(24, 40, 3), nn.Flatten(), nn.Linear(1440, 10)
)
WORKLOAD = trace(NETWORK.eval(), torch.zeros(1, 3, 10, 10))
SIGNS = trace(binary_perceptron(100, (50,), 10).eval(), torch.zeros(1, 100))
CASES = {
    "isaac": (WORKLOAD, None),
    "forms": (WORKLOAD, Plan((Rule("*", Polarized(8)),))),
    "aqfp": (SIGNS, Plan((Rule("5", None), Rule("*", Binary())))),
    "integers-shift": (WORKLOAD, None),
    "zcu102": (WORKLOAD, None),
    "zcu102-binary": (SIGNS, Plan((Rule("5", None), Rule("*", Binary())))),
}


@pytest.mark.parametrize("name", CASES)
def test_parts_of_energy_add_up_to_the_cost(name):
    device = load_device(name)
    shares = [one for one in pictures_of(device, *CASES[name]) if isinstance(one, Shares)]
    (energy,) = [one for one in shares if one.unit == "J"]
    assert sum(joules for _, joules in energy.parts) == pytest.approx(device.cost(*CASES[name]).energy_joules)


@pytest.mark.parametrize("name", ["isaac", "forms", "aqfp", "zcu102"])
def test_nothing_in_use_is_more_than_there_is(name):
    (used,) = [one for one in pictures_of(load_device(name), *CASES[name]) if isinstance(one, Gauges)]
    assert all(0 < gauge.used <= gauge.available for gauge in used.gauges)


def test_cells_of_a_binary_network_are_its_weights():
    (used,) = [one for one in pictures_of(load_device("aqfp"), *CASES["aqfp"]) if isinstance(one, Gauges)]
    assert used.gauges[-1].used == 100 * 50
    assert used.gauges[-1].available == 3 * 2 * 36**2


@pytest.mark.parametrize("name", ["galaxy-s10-cpu", "raspberry-pi-4", "integers-shift", "zcu102"])
def test_no_layer_is_above_the_roof(name):
    device = load_device(name)
    (roof,) = [one for one in pictures_of(device, WORKLOAD) if isinstance(one, Roofline)]
    assert len(roof.points) == len(WORKLOAD.layers)
    for _, intensity, rate in roof.points:
        assert rate <= min(roof.peak, roof.bandwidth * intensity) * (1 + 1e-9)


def test_times_by_layer_add_up():
    device = load_device("galaxy-s20-gpu")
    (times,) = [one for one in pictures_of(device, WORKLOAD) if isinstance(one, Shares)]
    assert sum(seconds for _, seconds in times.parts) == pytest.approx(device.cost(WORKLOAD).latency_seconds)


def test_devices_that_nobody_drew_have_no_pictures_and_no_noise():
    assert pictures_of(load_device("host"), WORKLOAD) == ()
    assert sweeps(load_device("host")) == ()


@pytest.mark.parametrize("name", ["forms", "aqfp"])
def test_a_sweep_holds_the_device_itself(name):
    device = load_device(name)
    for sweep in sweeps(device):
        values = [value for value, _ in sweep.points]
        assert values == sorted(values)
        (own,) = [other for value, other in sweep.points if value == pytest.approx(sweep.own)]
        assert {k: f.value for k, f in own.figures.items()} == pytest.approx(
            {k: f.value for k, f in device.figures.items()}
        )
