"""The optima that OPQ's closed forms are held against are optima, and even shares are none."""

import pytest
import torch
from papers.opq_optimum import finding, removal, sorted_removal, steps
from torch import nn

pytest.importorskip("scipy")


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [nn.Linear(300, 4), nn.Linear(200, 10), nn.Linear(100, 6)]
    for layer, scale in zip(layers, (0.1, 0.03, 0.05), strict=True):
        layer.weight = nn.Parameter(torch.distributions.Laplace(0.0, scale).sample(layer.weight.shape))
    return nn.Sequential(*layers)


@pytest.mark.parametrize("measure", [lambda network: removal(network, 0.8), steps], ids=["removal", "steps"])
def test_closed_forms_reach_the_optimum_and_even_shares_do_not(network, measure):
    found = measure(network)
    assert found["closed"] == pytest.approx(found["numerical"], rel=1e-5)
    assert finding("", found).verdict == "reproduced"
    assert finding("", found | {"closed": found["even"]}).verdict == "not reproduced"


def test_one_threshold_removes_the_smallest_weights_of_all(network):
    found = sorted_removal(network, 0.8)
    assert found["closed"] == pytest.approx(found["numerical"], rel=1e-12)
