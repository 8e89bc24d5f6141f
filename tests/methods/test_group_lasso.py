import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import OneShot, ReweightedGroupLasso, begin, train
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.quantizers import FixedPoint


def test_the_penalty_is_the_weighted_sum_of_group_norms():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 4))
    session = begin(ReweightedGroupLasso(0.5), network, Plan((Rule("0", BlockColumnRow(0.5, (2, 3))),)))
    norms = network[0].weight.detach().view(2, 2, 6).norm(dim=1)
    relative = norms.square() / norms.square().mean()
    expected = 0.5 * (norms * 1.01 / (relative + 0.01)).sum()
    assert torch.allclose(session.penalty(), expected, rtol=1e-5)


def test_a_group_of_zeros_has_a_finite_gradient_and_weak_groups_are_drawn_harder():
    network = nn.Sequential(nn.Linear(3, 2))
    network[0].weight.data = torch.tensor([[0.0, 0.1, 2.0], [0.0, 0.1, 2.0]])
    session = begin(ReweightedGroupLasso(1.0), network, Plan((Rule("0", BlockColumnRow(0.5, (2, 3))),)))
    session.penalty().backward()
    gradient = network[0].weight.grad[0]
    assert torch.isfinite(gradient).all()
    assert gradient[0] == 0
    assert gradient[1] > 10 * gradient[2] > 0


STRENGTH = 1e-2


def test_it_brings_the_weights_nearer_to_their_scheme_than_training_alone(make, plan, data, accuracy):
    distance, score = {}, {}
    for strength in (1e-9, STRENGTH):
        network = make()
        session = begin(ReweightedGroupLasso(strength), network, plan)
        train(network, data, 6, learning_rate=0.1, session=session)
        distance[strength] = sum(session.residuals().values())
        session.finish()
        assert max(session.residuals().values()) == 0
        score[strength] = accuracy(network)
    assert distance[STRENGTH] < 0.7 * distance[1e-9]
    assert score[STRENGTH] > score[1e-9]


def test_a_restored_session_goes_on_alike(make, plan, data):
    first, second = make(), make(seed=1)
    session = begin(ReweightedGroupLasso(), first, plan)
    train(first, data, 2, session=session)
    stored = load(save(session.state()))
    second.load_state_dict(first.state_dict())
    again = begin(ReweightedGroupLasso(), second, plan)
    again.restore(stored)
    assert torch.equal(again.penalty(), session.penalty())
    with pytest.raises(SpokeshaveError, match="another network, plan or method"):
        begin(OneShot(), first, plan).restore(stored)


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        (lambda: ReweightedGroupLasso(strength=0), "strength must be above 0 and finite, not 0"),
        (lambda: ReweightedGroupLasso(reweight_every=0), "reweight_every must be a whole number from 1 up"),
        (lambda: ReweightedGroupLasso(epsilon=-1), "epsilon must be above 0"),
    ],
)
def test_mistakes_are_one_sentence(work, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        work()


def test_a_loop_that_never_reweights_is_told(network, plan):
    session = begin(ReweightedGroupLasso(), network, plan)
    session.penalty()
    with pytest.raises(SpokeshaveError, match="call after_epoch"):
        session.finish()


def test_a_quantizer_is_refused(network):
    with pytest.raises(
        SpokeshaveError, match=r"^first\.weight: .* has no groups .*; those of .*Unstructured"
    ):
        begin(ReweightedGroupLasso(), network, Plan((Rule("first", FixedPoint(4)),)))
