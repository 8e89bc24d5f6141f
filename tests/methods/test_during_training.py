import pytest
import torch
from safetensors.torch import load, save

from spokeshave.criteria import Magnitude
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import DuringTraining, begin, train
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import Codebook, FixedPoint
from spokeshave.schemes.unstructured import Unstructured


@pytest.fixture
def method(data):
    return DuringTraining(data.train, choose_at=2, cut_at=5, strength=0.1)


def test_the_three_stages(make, plan, data, method, accuracy):
    network, seen = make(), []
    session = begin(method, network, plan)

    def watch(result):
        seen.append((float(session.penalty().detach()), max(result.residuals.values())))

    train(network, data, 8, learning_rate=0.1, session=session, on_epoch=watch)
    penalties, residuals = zip(*seen, strict=True)
    assert [penalty > 0 for penalty in penalties] == [False, True, True, True, False, False, False, False]
    assert residuals[3] < 0.5 * residuals[1]  # drawn to zero
    assert residuals[4:] == (0, 0, 0, 0)
    session.finish()
    for name, scheme in plan.resolve(network).items():
        assert scheme.contains(network.get_parameter(name).detach())
    assert accuracy(network) > 0.8


@pytest.mark.parametrize("scheme", [FixedPoint(4), Unstructured(0.5) & FixedPoint(4), Codebook(3)], ids=str)
def test_levels_are_met_at_the_end(make, data, scheme):
    network = make()
    plan = Plan((Rule("*", scheme),))
    session = begin(DuringTraining(data.train, choose_at=1, cut_at=2), network, plan)
    train(network, data, 3, learning_rate=0.1, session=session)
    assert max(session.residuals().values()) > 0
    session.finish()
    assert set(session.residuals().values()) == {0}
    for name, each in plan.resolve(network).items():
        assert each.contains(network.get_parameter(name).detach())


def test_what_the_criterion_finds_salient_is_kept(make, plan, data):
    network = make()
    session = begin(DuringTraining(data.train, 0, 1, criterion=Magnitude()), network, plan)
    weight = network.first.weight.detach().clone()
    expected = plan.resolve(network)["first.weight"].project(weight)
    session.after_epoch()
    assert torch.equal(network.first.weight, expected)


def test_the_penalty_is_the_norm_of_what_goes(make, plan, data):
    network = make()
    session = begin(DuringTraining(data.train, 0, 3, strength=0.25, criterion=Magnitude()), network, plan)
    kept = session.state()
    expected = sum(
        (network.get_parameter(name).detach() * ~kept[f"kept.{name}"]).norm(dim=1).sum()
        for name in plan.resolve(network)
    )
    assert torch.allclose(session.penalty(), 0.25 * expected, rtol=1e-2)


def test_a_restored_session_goes_on_alike(make, plan, data, method):
    first, second = make(), make(seed=1)
    session = begin(method, first, plan)
    train(first, data, 3, learning_rate=0.1, session=session)
    second.load_state_dict(first.state_dict())
    again = begin(method, second, plan)
    again.restore(load(save(session.state())))
    assert torch.equal(again.penalty(), session.penalty())
    for one in (session, again):
        for _ in range(2):
            one.after_epoch()
        one.finish()
    assert torch.equal(first.first.weight, second.first.weight)


def test_mistakes_are_one_sentence(network, plan, data):
    with pytest.raises(SpokeshaveError, match="choose_at 4 must be below cut_at 4"):
        DuringTraining(data.train, 4, 4)
    with pytest.raises(SpokeshaveError, match="DuringTraining needs batches"):
        DuringTraining(None, 1, 4)
    with pytest.raises(SpokeshaveError, match="choose_at must be a whole number from 0 up, not '4'"):
        DuringTraining(data.train, "4", 5)
    with pytest.raises(SpokeshaveError, match="strength must be above 0"):
        DuringTraining(data.train, 1, 4, strength=0)
    session = begin(DuringTraining(data.train, 3, 4), network, plan)
    for _ in range(3):
        session.after_epoch()
    session.penalty()
    with pytest.raises(SpokeshaveError, match=r"ended after 3 epochs .* before weights are removed at 4"):
        session.finish()
