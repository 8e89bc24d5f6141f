import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import MaskedFineTuning, OneShot, begin, train
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.quantizers import FixedPoint

OPTIMIZERS = {
    "momentum and decay": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-2),
    "adam": lambda p: torch.optim.AdamW(p, 1e-2),
}


def pruned(network, plan):
    begin(OneShot(), network, plan).finish()
    return network.first.weight == 0


def step(network, optimizer, session):
    torch.manual_seed(0)
    loss = F.cross_entropy(network(torch.randn(32, 1, 16, 16)), torch.arange(32) % 10) + session.penalty()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    session.after_step()


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_removed_weights_stay_zero_and_gather_no_momentum(make_optimizer, network, plan):
    removed = pruned(network, plan)
    before = network.first.weight.detach().clone()
    optimizer, session = make_optimizer(network.parameters()), begin(MaskedFineTuning(), network, plan)
    for _ in range(5):
        step(network, optimizer, session)
    weight = network.first.weight
    assert not weight[removed].any()
    assert (weight != before)[~removed].float().mean() > 0.5
    for value in optimizer.state[weight].values():
        if isinstance(value, torch.Tensor) and value.shape == weight.shape:
            assert not value[removed].any()


def test_momentum_from_before_the_pruning_does_not_leak(network, plan):
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    step(network, optimizer, begin(OneShot(), network, plan))
    removed = pruned(network, plan)
    session = begin(MaskedFineTuning(), network, plan)
    step(network, optimizer, session)
    assert optimizer.state[network.first.weight]["momentum_buffer"][removed].any()
    assert not network.first.weight[removed].any()


def test_a_network_that_is_not_pruned_yet(network, plan):
    with pytest.raises(SpokeshaveError, match=r"first\.weight does not lie in its scheme yet"):
        begin(MaskedFineTuning(), network, plan)


def test_finish_takes_the_hooks_off(network, plan):
    removed = pruned(network, plan)
    begin(MaskedFineTuning(), network, plan).finish()
    network(torch.randn(8, 1, 16, 16)).sum().backward()
    assert network.first.weight.grad[removed].any()


def test_the_support_survives_saving(network, make, plan):
    pruned(network, plan)
    state = load(save(begin(MaskedFineTuning(), network, plan).state()))
    other = make(seed=1)
    removed_there = pruned(other, plan)
    session = begin(MaskedFineTuning(), other, plan)
    session.restore(state)
    removed_here = network.first.weight == 0
    assert not torch.equal(removed_here, removed_there)
    assert not other.first.weight[removed_here].any()


def test_levels_are_met_again_at_the_end(make, data):
    scheme = BlockColumnRow(0.5, (8, 32)) & FixedPoint(4)
    network, plan = make(), Plan((Rule("first", scheme),))
    begin(OneShot(), network, plan).finish()
    kept = network.first.weight != 0
    session = begin(MaskedFineTuning(), network, plan)
    train(network, data, 1, session=session)
    assert session.residuals()["first.weight"] > 0
    session.finish()
    assert scheme.contains(network.first.weight.detach())
    assert not (network.first.weight != 0)[~kept].any()


def test_a_frozen_weight_has_nothing_to_fine_tune(network, plan):
    pruned(network, plan)
    network.first.weight.requires_grad_(False)
    with pytest.raises(SpokeshaveError, match=r"first.weight is frozen \(requires_grad is False\)"):
        begin(MaskedFineTuning(), network, plan)
