import torch

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


def test_a_criterion_decides_what_stays(network, plan):
    before = network.first.weight.detach().clone()
    begin(OneShot(criterion=lambda weight: 1 - weight.abs()), network, plan).finish()
    kept = network.first.weight != 0
    assert kept.any()
    assert before[kept].abs().mean() < 0.8 * before.abs().mean()
