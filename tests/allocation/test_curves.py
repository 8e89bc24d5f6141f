"""Curves and their slopes against their definitions."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spokeshave.allocation.curves import ascending, derivative, distortions, second_order_change, smoothed
from spokeshave.allocation.output_error import OutputError
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks


def test_the_second_order_change_is_the_quadratic_form():
    torch.manual_seed(0)
    change, gradient = torch.randn(2, 20, dtype=torch.float64)
    hessian = gradient.outer(gradient) + 1e-7 * torch.eye(20)
    expected = (change * gradient).square().mean() + change @ hessian @ change / 2
    assert second_order_change(change, gradient) == pytest.approx(float(expected), rel=1e-12)


def test_a_curve_starts_at_nothing_and_ends_with_the_whole_layer():
    torch.manual_seed(0)
    weight, gradient = torch.randn(2, 8, 10)
    shares = [1.0, 0.75, 0.5, 0.25, 0.0]

    def lost(point):
        return second_order_change(point - weight, gradient)

    curve, kept = distortions(weight, None, shares, lambda share: Unstructured(1 - share), lost)
    assert kept.tolist() == shares
    assert curve[0] == 0
    assert float(curve[-1]) == pytest.approx(second_order_change(-weight, gradient))
    half = Unstructured(0.5).project(weight) - weight
    assert float(curve[2]) == pytest.approx(second_order_change(half, gradient))


def test_dense_layers_do_not_change():
    weight = torch.randn(8, 10)
    curve, kept = distortions(
        weight, None, [1.0, 0.5], lambda share: None, lambda point: float((point - weight).norm())
    )
    assert curve.tolist() == [0, 0]
    assert kept.tolist() == [1, 1]


def test_what_is_kept_is_rounded_to_blocks_and_of_levels_the_share():
    weight = torch.randn(48, 48, generator=torch.Generator().manual_seed(0))
    shares = [1.0, 0.5]
    _, of_blocks = distortions(weight, None, shares, lambda share: Blocks(1 - share), lambda point: 0.0)
    _, of_bits = distortions(
        weight, None, shares, lambda share: FixedPoint(round(8 * share)), lambda point: 0.0
    )
    assert of_blocks.tolist() == pytest.approx([1, 4 / 9])
    assert of_bits.tolist() == shares


def test_an_output_error_is_measured_and_leaves_the_network_alone():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).train()
    batches = [(torch.randn(8, 6), None), (torch.randn(4, 6), None)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    error = OutputError.of(network, batches, None)
    values = torch.randn(5, 6)
    found = error.with_weight("0.weight", values)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert error.with_weight("0.weight", network[0].weight.detach()) == 0
    other = copy.deepcopy(network).eval()
    other[0].weight.data.copy_(values)
    network.eval()
    inputs = torch.cat([each for each, _ in batches])
    expected = (other(inputs) - network(inputs)).detach().square().mean()
    assert found == pytest.approx(float(expected), rel=1e-5)
    assert OutputError.of(network, batches, 1).with_weight("0.weight", values) != found
    with pytest.raises(SpokeshaveError, match="one batch"):
        OutputError.of(network, [], None)


def test_smoothing_keeps_constants_and_starts_without_bias():
    assert torch.allclose(smoothed(torch.full((20,), 3.0), 0.9), torch.tensor(3.0))
    curve = torch.rand(10)
    assert torch.equal(smoothed(curve, 0.0), curve)
    assert smoothed(curve, 0.9)[0] == pytest.approx(float(curve[0]), rel=1e-5)


@pytest.mark.parametrize("half_width", [2, 4, 10])
def test_the_stencil_is_exact_up_to_fourth_order(half_width):
    places = torch.linspace(0, 1, 101, dtype=torch.float64)
    slopes = derivative(places**4 - 2 * places**3 + places, 0.01, half_width)
    inside = slice(half_width, 101 - half_width)
    assert torch.allclose(slopes[inside], (4 * places**3 - 6 * places**2 + 1)[inside], atol=1e-9)
    assert torch.allclose(slopes, 4 * places**3 - 6 * places**2 + 1, atol=0.03 * half_width)


@pytest.mark.parametrize("points", [3, 4, 5, 7])
def test_short_curves_have_slopes_too(points):
    line = 2 * torch.arange(points, dtype=torch.float64)
    assert torch.allclose(derivative(line, 0.5, 10), torch.full((points,), 4.0, dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_ascending_slopes_are_those_of_the_lower_hull(values):
    slopes = torch.tensor(values, dtype=torch.float64)
    found = ascending(slopes)
    assert (found.diff() >= -1e-9).all()
    assert float(found.sum()) == pytest.approx(float(slopes.sum()), abs=1e-9)
    curve, hull = slopes.cumsum(0), found.cumsum(0)
    assert (hull <= curve + 1e-9).all()
    assert torch.allclose(ascending(found), found)
