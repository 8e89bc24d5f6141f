"""Shares of bits: against the numerical optimum, budgets, both codebooks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spokeshave.allocation import EqualStep, allocate_bits
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, begin
from spokeshave.schemes.quantizers import Codebook, FixedPoint

optimize = pytest.importorskip("scipy.optimize")


def rate(bits, codebook="shared", **settings):
    return EqualStep(bits, codebook, **{"whole": False, **settings})


def network_of(scales=(0.2, 0.02, 0.05), shapes=((60, 50), (200, 300), (100, 200)), seed=0):
    torch.manual_seed(seed)
    network = nn.Sequential(*(nn.Linear(columns, rows, bias=False) for rows, columns in shapes))
    for layer, scale in zip(network, scales, strict=True):
        layer.weight = nn.Parameter(torch.distributions.Laplace(0.0, scale).sample(layer.weight.shape))
    return network


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(8, 60), st.floats(0.02, 1.0), st.floats(0.3, 3.0)), min_size=2, max_size=5
    ),
    st.floats(6.5, 8),
)
def test_the_step_is_the_numerical_optimum(layers, bits):
    """With so many bits that `log2(range / step)` is the rate, the problem that the closed form solves."""
    shapes = [(rows, 40) for rows, _, _ in layers]
    network = network_of([scale for _, scale, _ in layers], shapes)
    kappas = {f"{index}.weight": kappa for index, (_, _, kappa) in enumerate(layers)}
    found = allocate_bits(
        rate(bits, most=24, sensitivity=lambda name, weight: kappas[name]),
        network,
        lambda bits: FixedPoint(min(12, bits)),
    )
    weights = [network[index].weight.detach() for index in range(len(layers))]
    counts = np.array([weight.numel() for weight in weights], dtype=float)
    ranges = np.array([float((2 * w.abs().amax(1)).double().log2().mean()) for w in weights])
    kappa = np.array(list(kappas.values()))

    def error(log_steps):
        return float(np.log2((counts * kappa * 4.0**log_steps).sum()))

    def mean_rate(log_steps):
        return float((counts * (ranges - log_steps)).sum() / counts.sum())

    steps = np.log2([found.steps[name] for name in kappas])
    assert np.ptp(steps + np.log2(kappa) / 2) == pytest.approx(0, abs=1e-9)
    solution = optimize.minimize(
        error,
        ranges - mean_rate(steps),
        constraints={"type": "eq", "fun": lambda x: mean_rate(x) - mean_rate(steps)},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 300},
    )
    assert error(steps) <= solution.fun + 1e-6
    assert steps == pytest.approx(solution.x, abs=0.02)


@pytest.mark.parametrize("codebook", ["shared", "normalised"])
@pytest.mark.parametrize("bits", [3.0, 4.0, 5.7])
def test_the_budget_is_met(codebook, bits):
    network = network_of()
    found = allocate_bits(rate(bits, codebook), network)
    assert found.mean_rate == pytest.approx(bits, abs=0.02)
    counts = {name: network.get_parameter(name).numel() for name in found.rates}
    mean = sum(found.rates[name] * count for name, count in counts.items()) / sum(counts.values())
    assert mean == pytest.approx(bits, abs=0.02)


def test_whole_bits_of_many_channels_stay_below_the_budget_and_near_it():
    found = allocate_bits(rate(4.0, whole=True), network_of())
    assert 3.98 <= found.mean_rate <= 4.0


def rounded(weight, steps):
    return (weight / steps).round() * steps


def test_an_equal_step_beats_equal_bits():
    network = network_of()
    found = allocate_bits(rate(4.0), network)
    error = uniform = 0.0
    for name, step in found.steps.items():
        weight = network.get_parameter(name).detach().double()
        span = 2 * weight.abs().amax(1, keepdim=True)
        error += float((rounded(weight, step) - weight).square().sum())
        uniform += float((rounded(weight, span / 15) - weight).square().sum())
    assert error < 0.6 * uniform
    assert found.bits["0.weight"] > found.bits["2.weight"] > found.bits["1.weight"]


def test_normalised_steps_follow_the_channels_mean_square():
    network = network_of()
    found = allocate_bits(rate(5.0, "normalised"), network)
    assert len({round(step, 12) for step in found.steps.values()}) == 1
    for name, step in found.steps.items():
        largest = network.get_parameter(name).detach().double().abs().amax(1)
        expected = torch.log2(2 * largest.square().mean().sqrt() / step + 1)
        assert found.rates[name] == pytest.approx(float(expected), abs=1e-9)


def test_zeros_are_not_counted():
    network, pruned = network_of(), network_of()
    for layer in pruned:
        layer.weight.data[1::2] = 0
    dense, sparse = (allocate_bits(rate(4.0), each) for each in (network, pruned))
    assert sparse.mean_rate == pytest.approx(4.0, abs=0.02)
    assert sparse.steps["1.weight"] == pytest.approx(dense.steps["1.weight"], rel=0.1)
    pruned[0].weight.data.zero_()
    emptied = allocate_bits(rate(4.0), pruned)
    assert emptied.rates["0.weight"] == 0
    assert emptied.steps["0.weight"] == 0
    for layer in pruned:
        layer.weight.data.zero_()
    with pytest.raises(SpokeshaveError, match="all weights are zero"):
        allocate_bits(rate(4.0), pruned)


@pytest.mark.parametrize(("codebook", "per"), [("shared", "tensor"), ("normalised", "row")])
def test_the_plan_runs_and_any_scheme_of_bits_serves(codebook, per):
    network = network_of()
    plan = allocate_bits(rate(4.0, codebook), network).plan
    assert {scheme.per for scheme in plan.resolve(network).values()} == {per}
    begin(OneShot(), network, plan).finish()
    assert all(plan.resolve(network)[f"{i}.weight"].contains(network[i].weight) for i in range(3))
    codes = allocate_bits(rate(4.0, most=8), network_of(), Codebook).plan.resolve(network)
    assert all(isinstance(scheme, Codebook) for scheme in codes.values())


def test_bounds_hold_and_the_budget_with_them():
    found = allocate_bits(rate(4.0, least=3, most=5), network_of())
    assert all(3 <= rate <= 5 for rate in found.rates.values())
    assert found.mean_rate == pytest.approx(4.0, abs=0.02)
    assert allocate_bits(rate(5.0, most=5), network_of()).mean_rate == pytest.approx(5.0)
    with pytest.raises(SpokeshaveError, match="bits must be above 0 and finite, not '4'"):
        EqualStep("4")
    with pytest.raises(SpokeshaveError, match=r"least must be a whole number from 1 up, not 1\.5"):
        EqualStep(4.0, least=1.5)
    with pytest.raises(SpokeshaveError, match="from least, 2, to most, 12, not 1"):
        rate(1.0)


@pytest.mark.parametrize("bits", [3.0, 4.5, 6.0])
def test_the_plan_of_the_defaults_is_stored_within_the_budget(bits):
    shapes = [(40, 60)] * 8
    network = network_of([0.02 * 1.6**layer for layer in range(8)], shapes)
    found = allocate_bits(EqualStep(bits), network)
    begin(OneShot(), network, found.plan).finish()
    schemes = found.plan.resolve(network)
    stored = sum(scheme.pack(network.get_parameter(name)).stream.nbytes for name, scheme in schemes.items())
    mean = 8 * stored / (8 * 40 * 60)
    assert bits - 0.5 < mean <= bits
    assert found.mean_rate == pytest.approx(mean)
