"""Curves and their slopes against their definitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spokeshave.allocation.curves import ascending, derivative, distortions, second_order_change, smoothed
from spokeshave.schemes.unstructured import Unstructured


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
    curve = distortions(weight, gradient, None, shares, lambda share: Unstructured(1 - share))
    assert curve[0] == 0
    assert float(curve[-1]) == pytest.approx(second_order_change(-weight, gradient))
    half = Unstructured(0.5).project(weight) - weight
    assert float(curve[2]) == pytest.approx(second_order_change(half, gradient))


def test_dense_layers_do_not_change():
    weight, gradient = torch.randn(2, 8, 10)
    curve = distortions(weight, gradient, None, [1.0, 0.5], lambda share: None)
    assert curve.tolist() == [0, 0]


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
