"""The overlap ratio against what it must be for networks that are known to agree or not."""

import pytest
import torch
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import weight_correlation


def states(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 40, 3), nn.Linear(200, 100)).state_dict()


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_equal_networks_agree_and_independent_ones_do_by_chance(fraction):
    one, other = states(0), states(1)
    assert weight_correlation(one, one, fraction) == 1
    assert weight_correlation(one, {name: -weight for name, weight in one.items()}, fraction) == 1
    chance = (fraction * (1 - fraction) / 21_080) ** 0.5
    assert weight_correlation(one, other, fraction) == pytest.approx(fraction, abs=4 * chance)


def test_opposite_orders_do_not_agree():
    weight = torch.arange(1.0, 101).view(10, 10)
    assert weight_correlation({"w": weight}, {"w": 101 - weight}, 0.5) == 0
    assert weight_correlation({"w": weight}, {"w": 101 - weight}, 0.6) == pytest.approx(20 / 60)


def test_sets_are_chosen_layer_by_layer():
    large, small = 100 * torch.rand(10, 10), torch.rand(10, 10)
    one = {"a": large, "b": small}
    other = {"a": large, "b": torch.rand(10, 10)}
    expected = (20 + 20 * weight_correlation({"b": small}, {"b": other["b"]}, 0.2)) / 40
    assert weight_correlation(one, other, 0.2) == pytest.approx(expected)


def test_pruned_networks_are_compared_by_what_remains():
    mask = (torch.arange(400) % 2 == 0).view(20, 20)
    torch.manual_seed(0)
    first, second = torch.randn(2, 20, 20) * mask
    found = weight_correlation({"w": first}, {"w": second}, 0.2)
    left = first[mask].view(10, 20), second[mask].view(10, 20)
    assert found == weight_correlation({"w": left[0]}, {"w": left[1]}, 0.2)
    dense = torch.where(mask, second, 100.0)
    assert weight_correlation({"w": first}, {"w": dense}, 0.2) == 0
    with pytest.raises(SpokeshaveError, match="200 weights left in one network, fewer than the 240"):
        weight_correlation({"w": first}, {"w": dense}, 0.6)


def test_what_cannot_be_compared_gets_a_sentence():
    with pytest.raises(SpokeshaveError, match="state_dict"):
        weight_correlation({"w": torch.rand(2, 3)}, {"w": torch.rand(3, 2)}, 0.2)
    with pytest.raises(SpokeshaveError, match="state_dict"):
        weight_correlation({}, {}, 0.2)
    with pytest.raises(SpokeshaveError, match="fraction"):
        weight_correlation({"w": torch.rand(2, 3)}, {"w": torch.rand(2, 3)}, 0)
    with pytest.raises(SpokeshaveError, match="w holds infinite values or NaN"):
        weight_correlation({"w": torch.rand(2, 3)}, {"w": torch.full((2, 3), torch.nan)}, 0.2)
