"""Superconducting columns: the law of their bits, matched thresholds, training that knows the noise, energies."""

from dataclasses import replace
from math import erf, pi, sqrt

import pytest
import torch
from tests.devices.crossbars.damage import refused_when_changed
from torch import nn

from spokeshave.data import DATA
from spokeshave.devices import load_device
from spokeshave.devices.crossbars.clocking import Circuit, counter
from spokeshave.devices.crossbars.thresholds import match
from spokeshave.devices.saved import load_saved
from spokeshave.errors import SpokeshaveError
from spokeshave.measure import evaluate
from spokeshave.methods import RandomizedBinary, begin, train
from spokeshave.networks import binary_convolutional, binary_perceptron
from spokeshave.plan import Plan, Rule
from spokeshave.processor import limited_threads
from spokeshave.schemes.quantizers import Binary, FixedPoint
from spokeshave.superconducting import Columns, fit_attenuation
from spokeshave.workload import trace

AQFP = load_device("aqfp")
BINARY = Plan((Rule("*.weight", Binary()),))
HIDDEN = Plan((Rule("2.weight", Binary()),))


def signs(*shape, seed=0):
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1


def test_frequencies_follow_the_law():
    columns = Columns(height=64, stream=8)
    generator, repeats = torch.Generator().manual_seed(0), 20_000
    for value in (-2.0, -0.3, 0.0, 0.1, 1.0):
        probability = 0.5 + 0.5 * erf(sqrt(pi) * value / columns.width)
        counts = columns.counts(torch.full((repeats,), value), generator)
        found = torch.bincount(counts.long(), minlength=9).double()
        places = torch.arange(9.0)
        expected = (
            repeats
            * torch.distributions.Binomial(8, torch.tensor(probability)).log_prob(places).exp().double()
        )
        often = expected > 5
        assert ((found - expected).square() / expected)[
            often
        ].sum() < 30  # chi-square of 8 degrees: 1 in 5,000


def test_currents_fall_with_the_height_and_the_grey_zone_grows():
    assert Columns(height=1, grey_zone=7e-6).width == pytest.approx(0.1)
    assert Columns(height=16, grey_zone=7e-6).width == pytest.approx(0.1 * 16**0.75)
    current, power = fit_attenuation([4, 16, 72], [70e-6 * height**-0.75 for height in (4, 16, 72)])
    assert (current, power) == (pytest.approx(70e-6), pytest.approx(0.75))


def agreement(height, grey_zone, stream, trials=4000):
    """How often a neuron of 576 random signs gets the sign of its sum."""
    columns = Columns(height, grey_zone, stream=stream)
    sums = signs(trials, 576 // height, height).sum(2)
    counted = columns.counts(sums, torch.Generator().manual_seed(1)).sum(1)
    ideal = sums.sum(1)
    decided = ideal != 0
    made = 2 * counted >= stream * sums.shape[1]
    return float((made == (ideal > 0))[decided].double().mean())


def test_a_narrow_grey_zone_is_not_better():
    """Columns that are high saturate, and the sum of their streams becomes a majority of signs."""
    heights = [agreement(height, 2.4e-6, 32) for height in (8, 36, 144)]
    assert heights == sorted(heights, reverse=True)
    assert agreement(144, 10e-6, 32) > agreement(144, 2.4e-6, 32) + 0.03
    assert agreement(8, 2.4e-6, 32) > agreement(8, 2.4e-6, 1) + 0.05


@pytest.mark.parametrize("stream", [1, 7, 16])
def test_matched_thresholds_are_batch_norm_and_sign(stream):
    torch.manual_seed(0)
    norm, pieces = nn.BatchNorm1d(40).double().eval(), 5
    norm.running_mean.normal_(0, 2)
    norm.running_var.uniform_(0.1, 3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    with torch.no_grad():
        norm.weight[:4], norm.bias[:2] = 0, 0
    counts = torch.arange(pieces * stream + 1.0, dtype=torch.float64)[:, None].expand(-1, 40)
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias.detach() - norm.running_mean * scale
    expected = torch.where(norm((2 * counts - pieces * stream) / stream) >= 0, 1.0, -1.0)
    assert torch.equal(match(scale, shift, pieces, stream).signs(counts), expected)


def trained(method, epochs=4, seed=0):
    data = DATA["digits"]().batched(64)
    torch.manual_seed(seed)
    network = binary_perceptron(256, (72,), 10)
    session = begin(method, network, HIDDEN)
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    with limited_threads(1):
        train(network, data, epochs, optimizer=optimizer, session=session, seed=seed)
    session.finish()
    return network, data


def test_training_that_knows_the_noise_beats_one_that_does_not():
    device = AQFP.with_figures(height=128, stream=4)
    aware, data = trained(RandomizedBinary(device.columns))
    unaware, _ = trained(RandomizedBinary())
    example = next(iter(data.held_out))[0][:1]
    on_device = {
        name: evaluate(device.deploy(network, example, HIDDEN), data.held_out).top1
        for name, network in (("aware", aware), ("unaware", unaware))
    }
    assert on_device["aware"] > on_device["unaware"] + 0.05
    assert on_device["aware"] > 0.75
    assert Binary().contains(aware[2].weight)


def test_long_streams_give_the_expectation():
    """Many bits: the deployment's scores are those of the training's forward pass without noise."""
    network, data = trained(RandomizedBinary(AQFP.columns), epochs=1)
    first = nn.Sequential(*list(network)[:2], *list(network)[5:6], nn.BatchNorm1d(10).eval())
    first[2] = nn.Linear(256, 10, bias=False)
    first[2].weight.data = Binary().project(first[2].weight.data)
    x = next(iter(data.held_out))[0][:50]
    device = AQFP.with_figures(stream=20_000)
    found = device.deploy(first.eval(), x[:1], Plan((Rule("2.weight", Binary()),)))(x)
    inputs = torch.where(x.flatten(1) >= 0.5, 1.0, -1.0)
    columns, weight = device.columns, first[2].weight.sign()
    padded = nn.functional.pad(inputs, (0, 32)).view(50, 8, 36)
    sums = torch.einsum("vcx,ncx->vnc", padded, nn.functional.pad(weight, (0, 32)).view(10, 8, 36))
    torch.testing.assert_close(found, columns.expectation(sums).sum(2) / sqrt(1 + 1e-5), atol=0.12, rtol=0)


def test_convolutions_without_noise_are_the_network_itself():
    torch.manual_seed(0)
    network = binary_convolutional(1, 16, (8, 12), 10, threshold=0.5).eval()
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.copy_(Binary().project(layer.weight).sign())
    x = torch.rand(6, 1, 16, 16)
    exact = AQFP.with_figures(height=1, grey_zone=1e-9, stream=1)  # one cell a column: its sign is its value
    deployment = exact.deploy(network, x[:1], BINARY)
    torch.testing.assert_close(deployment(x), network(x))
    assert deployment.elsewhere == ()
    noisy = AQFP.deploy(network, x[:1], BINARY)
    assert not torch.equal(noisy(x), noisy(x))
    x[2, 0, 3, 3] = float("nan")
    with pytest.raises(SpokeshaveError, match="holds NaN or infinite numbers"):
        noisy(x)
    x[2, 0, 3, 3] = 0
    assert torch.equal(
        AQFP.deploy(network, x[:1], BINARY, seed=3)(x), AQFP.deploy(network, x[:1], BINARY, seed=3)(x)
    )


@pytest.mark.parametrize(
    ("size", "attojoules"), [(4, 1.92), (8, 5.76), (16, 19.2), (36, 86.4), (72, 328.3), (144, 1278.7)]
)
def test_energies_of_crossbars_are_those_of_the_table(size, attojoules):
    device = AQFP.with_figures(height=size)
    joules = device.crossbar_junctions * device.figures["junction_energy"].value
    assert joules == pytest.approx(attojoules * 1e-18, rel=1e-3)


def test_the_energy_of_a_network_is_its_junctions_times_its_clocks():
    network = binary_perceptron(256, (72,), 10)
    cost = AQFP.cost(trace(network, torch.zeros(1, 1, 16, 16)), BINARY)
    crossbars = (8 * 2 + 2 * 1) * 17280
    counters = sum(
        outputs * (6 * len(counter(pieces).gates) + 2 * counter(pieces).buffers())
        for outputs, pieces in ((72, 8), (10, 2))
    )
    assert cost.energy_joules == pytest.approx((crossbars + counters) * 16 * 5e-21)
    assert cost.samples_per_second == pytest.approx(5e9 / 16)


def count_by(circuit: Circuit, bits: list[int]) -> int:
    """The number that the counter's outputs spell, its gates worked out as the three of each adder."""
    values: list[int] = []

    def value(gate: int) -> int:
        return values[gate] if gate >= 0 else bits[gate]

    for place, inputs in enumerate(circuit.gates):
        taken = [value(gate) for gate in inputs]
        if place % 3 < 2:
            taken += [0] * (3 - len(taken))
            taken = [*taken[:2], taken[2] if place % 3 == 0 else 1 - taken[2]]
            values.append(int(sum(taken) >= 2))
        else:
            of_three = len(circuit.gates[place - 2]) == 3
            carry, middle, last = 1 - taken[0], taken[1], taken[2] if of_three else 0
            values.append(int(carry + middle + last >= 2))
    return sum(value(gate) << weight for weight, gate in enumerate(circuit.outputs))


def test_counters_count_and_more_phases_take_fewer_buffers():
    for bits in (2, 3, 7, 12, 16):
        circuit = counter(bits)
        for seed in range(8):
            given = torch.randint(0, 2, (bits,), generator=torch.Generator().manual_seed(seed)).tolist()
            assert count_by(circuit, given) == sum(given)
    numbers = [counter(16).buffers(phases) for phases in (4, 8, 16)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > 1.5 * numbers[1]
    assert Circuit(((-1, -2), (-1, 0)), (1,)).buffers() == 1


def test_a_saved_deployment_draws_the_same_bits(tmp_path):
    torch.manual_seed(0)
    network, x = binary_convolutional(1, 16, (8, 12), 10, threshold=0.5).eval(), torch.rand(6, 1, 16, 16)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.copy_(Binary().project(layer.weight))
            if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
    plan = Plan((Rule("2.weight", None), Rule("*.weight", Binary())))
    made = AQFP.deploy(network, x[:1], plan, seed=5)
    made.save(tmp_path / "saved")
    made.save(tmp_path / "saved")  # replaces itself
    loaded = load_saved(tmp_path / "saved")
    assert torch.equal(loaded(x), made(x))
    assert torch.equal(loaded(x), made(x))  # and draw on
    assert loaded(x[:0]).shape == (0, 10)
    assert (loaded.manifest, loaded.cost, loaded.elsewhere) == (made.manifest, made.cost, ("2",))
    refused_when_changed(tmp_path / "saved" / "columns.json", '"seed": 5', '"seed": 6')
    (tmp_path / "saved" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(SpokeshaveError, match=r"weights\.safetensors is damaged"):
        load_saved(tmp_path / "saved")


def test_what_the_device_cannot_run(tmp_path):
    network, x = binary_perceptron(256, (72,), 10), torch.zeros(1, 1, 16, 16)
    with pytest.raises(SpokeshaveError, match=r"2\.weight is not binary yet"):
        AQFP.deploy(network, x, BINARY)
    with pytest.raises(SpokeshaveError, match="a cell holds one bit: it runs binary weights, not FixedPoint"):
        AQFP.cost(trace(network, x), Plan((Rule("*.weight", FixedPoint(4)),)))
    with pytest.raises(SpokeshaveError, match="give at least one layer the scheme binary"):
        AQFP.cost(trace(network, x))
    plain = nn.Sequential(nn.Flatten(), nn.Linear(256, 10, bias=False), nn.BatchNorm1d(10)).eval()
    plain[1].weight.data = Binary().project(plain[1].weight.data)
    with pytest.raises(SpokeshaveError, match="1: it reads numbers other than -1 and 1"):
        AQFP.deploy(plain, x, BINARY)(x)
    with pytest.raises(SpokeshaveError, match="1: a binary layer needs a batch norm"):
        AQFP.deploy(plain[:2], x, BINARY)
    with pytest.raises(SpokeshaveError, match="RandomizedBinary trains the scheme Binary, not FixedPoint"):
        begin(RandomizedBinary(), network, Plan((Rule("2.weight", FixedPoint(4)),)))
    with pytest.raises(SpokeshaveError, match="columns: stream must be a whole number from 1 up"):
        replace(AQFP.columns, stream=0)
