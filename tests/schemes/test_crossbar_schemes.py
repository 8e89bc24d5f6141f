"""Polarized fragments and pruning by whole crossbars: nearest points, by exhaustive search; training keeps signs."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.examples import weights
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import ADMM, MaskedFineTuning, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.crossbar_pruned import CrossbarPruned
from spokeshave.schemes.polarized import Magnitudes, Polarized
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.word_lines import ORDERS, from_fragments, in_fragments, word_lines


@given(weights((2, 3, 2, 2)), st.sampled_from([2, 3, 5, 12, 20]), st.sampled_from(ORDERS))
@settings(max_examples=60, deadline=None)
def test_polarized_is_the_nearest_point(weight, fragment, order) -> None:
    lines = word_lines((2, 3, 2, 2), order)
    best = sum(
        max(run.clamp(min=0).square().sum().item(), run.clamp(max=0).square().sum().item())
        for row in weight.flatten(1)[:, lines]
        for run in row.split(fragment)
    )
    assert Polarized(fragment, order).project(weight).square().sum().item() == best


def test_the_sign_of_the_sum_may_be_the_farther_one() -> None:
    weight = torch.tensor([[3.0, -2.0, -2.0]])
    assert Polarized(3).project(weight).tolist() == [[3.0, 0.0, 0.0]]
    assert Polarized(3, by="sum").project(weight).tolist() == [[0.0, -2.0, -2.0]]


@pytest.mark.parametrize("order", ORDERS)
def test_word_lines_run_along_the_axis_that_they_are_called_by(order) -> None:
    axis = {"channel": 1, "height": 2, "width": 3}[order]
    places = torch.stack(torch.meshgrid(*map(torch.arange, (1, 4, 3, 2)), indexing="ij")).flatten(2)[:, 0]
    first, second = places[:, word_lines((1, 4, 3, 2), order)[:2]].T
    assert (second - first).tolist() == [int(axis == at) for at in range(4)]


def test_fragments_and_back() -> None:
    weight = torch.arange(2 * 5 * 3 * 3).view(2, 5, 3, 3)
    for order in ORDERS:
        assert torch.equal(from_fragments(in_fragments(weight, 8, order), (2, 5, 3, 3), order), weight)


@given(
    weights((2, 11)), st.sampled_from([0.0, 0.4, 0.8]), st.sampled_from([(4, 2), (3, 3), (4, 4), (128, 8)])
)
@settings(max_examples=60, deadline=None)
def test_positions_kept_are_the_best_that_fit_whole_crossbars(weight, sparsity, sizes) -> None:
    crossbar, run = sizes
    budget = -(-max(1, int(11 * (1 - sparsity) + 1e-6)) // crossbar) * crossbar
    runs = weight.split(run, dim=1)
    best = max(
        sum(one.square().sum().item() for one in kept)
        for count in range(len(runs) + 1)
        for kept in combinations(runs, count)
        if sum(one.shape[1] for one in kept) <= budget
    )
    projected = CrossbarPruned(sparsity, crossbar=crossbar, run=run).project(weight)
    assert projected.square().sum().item() == best


def test_only_whole_crossbars_of_filters_go() -> None:
    weight = torch.randn(100, 40, generator=torch.Generator().manual_seed(0))
    kept = CrossbarPruned(0.5, "filters", crossbar=32).project(weight).any(1)
    assert int(kept.sum()) == 64
    assert weight[kept].square().sum(1).min() >= weight[~kept].square().sum(1).max()
    assert torch.equal(CrossbarPruned(0.9, "filters", crossbar=128).project(weight), weight)


def test_fragments_stay_whole_when_the_others_close_ranks() -> None:
    weight = torch.randn(6, 64, 3, 3, generator=torch.Generator().manual_seed(0))
    both = CrossbarPruned(0.5, crossbar=32, run=8, order="channel") & Polarized(8, "channel")
    projected = both.project(weight)
    lines = projected.flatten(1)[:, word_lines(tuple(weight.shape), "channel")]
    packed = lines[:, lines.any(0)]
    assert packed.shape == (6, 288)
    assert Polarized(8).contains(packed)


def test_fragments_and_runs_beyond_the_row_are_the_row() -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    beyond, row = Polarized(10**15), Polarized(12)
    assert torch.equal(beyond.project(weight), row.project(weight))
    assert torch.equal(beyond.signs(row.project(weight)), row.signs(row.project(weight)))
    runs = (CrossbarPruned(0.5, crossbar=1, run=run) for run in (10**15, 12))
    assert torch.equal(*(scheme.project(weight) for scheme in runs))


def test_bytes_of_magnitudes_and_signs() -> None:
    weight = Polarized(8).project(torch.randn(4, 100, generator=torch.Generator().manual_seed(0)))
    packed = Polarized(8).pack(weight)
    assert isinstance(packed, Magnitudes)
    assert packed.nbytes == 4 * 400 + -(-4 * 13 // 8)


def trained(network, plan, method, steps):
    session, optimizer = begin(method, network, plan), torch.optim.SGD(network.parameters(), 0.3)
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        loss = F.cross_entropy(network(x), torch.arange(64) % 4) + session.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        session.after_step()
    return session


def test_admm_draws_to_all_three_sets_and_fine_tuning_keeps_the_signs() -> None:
    network = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    scheme = CrossbarPruned(0.5, crossbar=8, run=4) & Polarized(4) & FixedPoint(6)
    plan = Plan((Rule("0.weight", scheme),))
    session = trained(network, plan, ADMM(rho=0.05, update_steps=5), 100)
    assert session.residuals()["0.weight"] < 0.3
    session.finish()
    weight = network[0].weight
    before, signs = weight.detach().clone(), Polarized(4).signs(weight)
    session = trained(network, plan, MaskedFineTuning(), 20)
    assert (weight != before).any()
    assert (weight * signs >= 0).all()
    assert not weight[~CrossbarPruned(0.5, crossbar=8, run=4).in_use(before)].any()
    kept = session.state()
    session.finish()
    assert scheme.contains(weight.detach())
    other = begin(MaskedFineTuning(), network, plan)
    other.restore(kept | {"sign.0.weight": -kept["sign.0.weight"]})
    assert not weight.any()


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(SpokeshaveError, match="polarized: fragment must be a whole number from 2 up"):
        Polarized(1)
    with pytest.raises(SpokeshaveError, match="polarized: order must be 'width' or 'height' or 'channel'"):
        Polarized(8, "depth")
    with pytest.raises(SpokeshaveError, match="crossbar_pruned: along must be 'filters' or 'positions'"):
        CrossbarPruned(0.5, "rows")
    with pytest.raises(SpokeshaveError, match="a fragment has both signs"):
        Polarized(2).pack(torch.tensor([[1.0, -1.0]]))
