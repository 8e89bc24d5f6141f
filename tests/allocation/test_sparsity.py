"""Shares of a sparsity: against the numerical optimum, budgets, floors, awkward weights."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spokeshave.allocation import GlobalThreshold, allocate_sparsity, relative_error
from spokeshave.allocation.thresholds import Laplace, Population, removed_fractions
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, begin
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.unstructured import Unstructured

optimize = pytest.importorskip("scipy.optimize")

LAYERS = st.lists(
    st.tuples(st.integers(100, 50_000), st.floats(0.01, 1.0), st.floats(0.2, 5.0)), min_size=2, max_size=6
)


def laplace_weight(shape, scale):
    return torch.distributions.Laplace(0.0, scale).sample(shape)


def networks(scales=(0.2, 0.02, 0.05), shapes=((60, 50), (200, 300), (100, 200))):
    torch.manual_seed(0)
    network = nn.Sequential(*(nn.Linear(columns, rows, bias=False) for rows, columns in shapes))
    for layer, scale in zip(network, scales, strict=True):
        layer.weight = nn.Parameter(laplace_weight(layer.weight.shape, scale))
    return network


def removed_error(populations, fractions):
    """The objective: squared errors by the fractions removed, each layer's threshold being its quantile."""
    total = 0.0
    for population, fraction in zip(populations, fractions, strict=True):
        scale = population.distribution.scale
        threshold = -scale * math.log1p(-min(fraction, 1 - 1e-15))
        total += population.count * population.sensitivity * population.distribution.error(threshold)
    return total


@settings(max_examples=30, deadline=None)
@given(LAYERS, st.floats(0.1, 0.9))
def test_the_closed_form_is_the_numerical_optimum(layers, sparsity):
    populations = [Population(n, Laplace(b), 1.0, kappa) for n, b, kappa in layers]
    found, _ = removed_fractions(populations, sparsity)
    counts = torch.tensor([float(p.count) for p in populations], dtype=torch.float64)
    unit = removed_error(populations, [sparsity] * len(layers))
    solution = optimize.minimize(
        lambda x: removed_error(populations, x) / unit,
        [sparsity] * len(layers),
        bounds=[(0, 1 - 1e-9)] * len(layers),
        constraints={"type": "eq", "fun": lambda x: (counts.numpy() @ x) / float(counts.sum()) - sparsity},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    closed = removed_error(populations, found) / unit
    assert (counts @ torch.tensor(found, dtype=torch.float64)) / counts.sum() == pytest.approx(
        sparsity, abs=1e-9
    )
    assert closed <= solution.fun * (1 + 1e-6)
    if solution.success:
        assert closed == pytest.approx(solution.fun, rel=1e-3)


def test_the_check_of_the_literature():
    populations = [
        Population(n, Laplace(b), 1.0, 1.0) for n, b in ((3000, 0.2), (60000, 0.02), (20000, 0.05))
    ]
    fractions, threshold = removed_fractions(populations, 0.8)
    assert threshold == pytest.approx(0.04552, abs=1e-5)
    assert fractions == pytest.approx([0.2035, 0.8973, 0.5976], abs=1e-4)


@pytest.mark.parametrize("distribution", ["laplace", "empirical"])
@pytest.mark.parametrize("sparsity", [0.3, 0.8, 0.95])
def test_the_pruned_network_has_the_sparsity(distribution, sparsity):
    network = networks()
    found = allocate_sparsity(GlobalThreshold(sparsity, distribution), network)
    begin(OneShot(), network, found.plan).finish()
    zeros = sum(int((layer.weight == 0).sum()) for layer in network)
    assert zeros / sum(layer.weight.numel() for layer in network) == pytest.approx(sparsity, abs=1e-3)


def test_empirical_quantiles_are_one_global_ranking():
    network = networks()
    found = allocate_sparsity(GlobalThreshold(0.8, floor=0.0), network)
    everything = torch.cat([layer.weight.flatten() for layer in network]).abs()
    threshold = everything.kthvalue(round(0.8 * len(everything))).values
    for name, share in found.shares.items():
        kept = (network.get_parameter(name).abs() > threshold).double().mean()
        assert share == pytest.approx(float(kept), abs=1e-3)


def test_laplace_and_quantiles_agree_on_laplace_weights_and_not_on_others():
    laplace, empirical = (
        allocate_sparsity(GlobalThreshold(0.8, kind), networks()).shares for kind in ("laplace", "empirical")
    )
    assert list(laplace.values()) == pytest.approx(list(empirical.values()), abs=0.02)
    uniform = networks()
    uniform[0].weight.data.uniform_(-0.2, 0.2)
    laplace, empirical = (
        allocate_sparsity(GlobalThreshold(0.8, kind), uniform).shares for kind in ("laplace", "empirical")
    )
    assert abs(laplace["0.weight"] - empirical["0.weight"]) > 0.03


def test_floors_keep_small_layers_alive_and_the_others_pay():
    network = networks(scales=(0.2, 1e-6, 0.05))
    found = allocate_sparsity(GlobalThreshold(0.8, floor=0.1), network)
    assert found.shares["1.weight"] == pytest.approx(0.1)
    kept = sum(network.get_parameter(name).numel() * share for name, share in found.shares.items())
    assert kept / 83_000 == pytest.approx(0.2, abs=1e-4)
    with pytest.raises(SpokeshaveError, match=r"at most 0\.5000 is possible"):
        allocate_sparsity(GlobalThreshold(0.8, floor=0.5), network)


def test_every_filter_can_keep_a_weight():
    network = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 64, 3))
    network[0].weight.data.mul_(1e-9)
    found = allocate_sparsity(GlobalThreshold(0.8, floor=0.0), network)
    assert found.shares["0.weight"] == pytest.approx(1 / 9)


def test_equal_weights_share_the_jump():
    network = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40))
    for layer in network:
        layer.weight.data.fill_(0.5)
    found = allocate_sparsity(GlobalThreshold(0.7, floor=0.0), network)
    assert list(found.shares.values()) == pytest.approx([0.3, 0.3])
    network[0].weight.data.zero_()
    found = allocate_sparsity(GlobalThreshold(0.7, floor=0.01), network)
    assert found.shares["0.weight"] == pytest.approx(1 / 40)
    assert sum(found.shares.values()) / 2 == pytest.approx(0.3)


def test_relative_errors_do_not_see_the_scale_of_a_layer():
    network = networks()
    method = GlobalThreshold(0.8, sensitivity=relative_error)
    before = allocate_sparsity(method, network).shares
    network[1].weight.data.mul_(100)
    assert list(allocate_sparsity(method, network).shares.values()) == pytest.approx(list(before.values()))
    plain = allocate_sparsity(GlobalThreshold(0.8), network).shares
    assert plain["1.weight"] > before["1.weight"] + 0.05


def test_any_scheme_serves_and_dense_layers_are_left_out():
    network = networks()
    method = GlobalThreshold(0.8, dense=("0",))
    plan = allocate_sparsity(method, network, lambda share: BlockColumnRow(1 - share, (4, 10))).plan
    schemes = plan.resolve(network)
    assert set(schemes) == {"1.weight", "2.weight"}
    assert all(isinstance(scheme, BlockColumnRow) for scheme in schemes.values())


def test_what_cannot_be_allocated_gets_a_sentence():
    network = networks()
    with pytest.raises(SpokeshaveError, match="'absent' names no layer"):
        allocate_sparsity(GlobalThreshold(0.5, dense=("absent",)), network)
    with pytest.raises(SpokeshaveError, match="no weight to allocate"):
        allocate_sparsity(GlobalThreshold(0.5, dense=("*",)), network)
    with pytest.raises(SpokeshaveError, match=r"sensitivity of 0\.weight"):
        allocate_sparsity(GlobalThreshold(0.5, sensitivity=lambda name, weight: 0.0), network)
    with pytest.raises(SpokeshaveError, match=r"0\.weight needs a scheme, .*, not 'half'"):
        allocate_sparsity(GlobalThreshold(0.5), networks(), lambda share: "half")
    with pytest.raises(SpokeshaveError, match=r"0\.weight: a block of 64 x 64 is larger"):
        allocate_sparsity(GlobalThreshold(0.5), network, lambda share: BlockColumnRow(1 - share, (64, 64)))
    network[2].weight.data[0, 0] = float("nan")
    with pytest.raises(SpokeshaveError, match=r"2\.weight holds infinite values or NaN"):
        allocate_sparsity(GlobalThreshold(0.5), network, Unstructured)
