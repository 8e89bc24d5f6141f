import pytest
import torch

from spokeshave.criteria import InputNorm, Magnitude, Taylor
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, begin


def test_every_weight_becomes_its_projection(network, plan):
    expected = {
        name: scheme.project(network.get_parameter(name).detach())
        for name, scheme in plan.resolve(network).items()
    }
    session = begin(OneShot(), network, plan)
    assert min(session.residuals().values()) > 0.5
    session.finish()
    assert all(torch.equal(network.get_parameter(name), point) for name, point in expected.items())
    assert max(session.residuals().values()) == 0


def test_a_criterion_decides_what_stays(make, plan, data):
    kept = []
    for criterion in (Magnitude(), Taylor(passes=2), InputNorm(passes=2)):
        network = make()
        begin(OneShot(criterion, data.train), network, plan).finish()
        kept.append(network.first.weight != 0)
    assert all(mask.any() for mask in kept)
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[2])


def test_a_criterion_without_its_data_changes_nothing(network, plan):
    before = network.first.weight.detach().clone()
    with pytest.raises(SpokeshaveError, match="Taylor needs batches"):
        begin(OneShot(Taylor()), network, plan).finish()
    assert torch.equal(network.first.weight, before)
