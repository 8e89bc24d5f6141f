"""Where each procedure starts, exactly; what its masks are; and that fine-tuning works on real digits."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods import IterativeMagnitude, find_masks, prune_and_train, train, train_under
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import Codebook, FixedPoint
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks


def plan(sparsity):
    return Plan((Rule("head", None), Rule("*", Unstructured(sparsity))))


class Loop:
    """Two epochs of three steps; remembers the state of the network when each call begins and ends."""

    def __init__(self, rate=0.1):
        self.rate, self.begun, self.ended, self.epochs = rate, [], [], []

    def __call__(self, network, session):
        self.begun.append(state(network))
        optimizer = torch.optim.SGD(network.parameters(), self.rate, momentum=0.9, weight_decay=1e-2)
        generator = torch.Generator().manual_seed(len(self.begun))
        for _ in range(2):
            for _ in range(3):
                inputs = torch.randn(16, 1, 16, 16, generator=generator)
                loss = F.cross_entropy(network(inputs), torch.arange(16) % 10) + session.penalty()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                session.after_step()
            session.after_epoch()
            self.epochs.append(state(network))
        self.ended.append(state(network))


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def masked(weights, masks):
    return {name: value * masks[name] if name in masks else value for name, value in weights.items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("start", ["trained", "early", "initial", "random"])
def test_the_last_training_starts_where_it_should(start, rounds, network):
    first, loop = state(network), Loop()
    method = IterativeMagnitude(0.9, start, rounds, early_epochs=1)
    found = prune_and_train(method, network, plan, loop)
    assert len(loop.begun) == rounds + 1
    assert same(loop.begun[0], first)
    assert same(found.initial, first)
    assert same(found.trained, loop.ended[0])
    assert same(found.early, loop.epochs[0])
    known = {"trained": loop.ended[0], "early": loop.epochs[0], "initial": first}
    if start == "random":
        assert not any(same(loop.begun[-1], masked(each, found.masks)) for each in known.values())
        assert all(not loop.begun[-1][name][~mask].any() for name, mask in found.masks.items())
    else:
        assert same(loop.begun[-1], masked(known[start], found.masks))
    for name, mask in found.masks.items():
        assert torch.equal(network.get_parameter(name) != 0, mask)
        assert float(mask.float().mean()) == pytest.approx(0.1, abs=1e-3)


def test_masks_found_once_serve_every_start(network):
    first = state(network)
    method = IterativeMagnitude(0.8, "initial", early_epochs=1)
    whole = prune_and_train(method, network, plan, Loop())
    end = state(network)
    network.load_state_dict(first)
    found = find_masks(method, network, plan, Loop())
    loop = Loop()
    loop.begun.append({})  # the loop seeds its batches by the number of the call
    train_under(found, method, network, plan, loop)
    assert same(whole.masks, found.masks)
    assert same(state(network), end)


def test_rounds_start_from_the_first_weights_and_prune_more_and_more(network):
    loop = Loop()
    found = prune_and_train(IterativeMagnitude(0.488, "initial", 3, early_epochs=1), network, plan, loop)
    for begun, left in zip(loop.begun[1:], (0.8, 0.64, 0.512), strict=True):
        kept = {name: begun[name] != 0 for name in found.masks}
        assert same(begun, masked(found.initial, kept))
        assert all(float(mask.float().mean()) == pytest.approx(left, abs=1e-3) for mask in kept.values())
        assert all((kept[name] | ~mask).all() for name, mask in found.masks.items())


def test_weights_that_begin_at_zero_are_not_taken_for_removed(network):
    network.second.weight.data.zero_()
    network.second.bias.data.fill_(0.1)  # no unit is dead
    found = prune_and_train(IterativeMagnitude(0.5, "initial"), network, plan, Loop())
    assert int(found.masks["second.weight"].sum()) == int((network.second.weight != 0).sum()) == 64 * 32


def test_blocks_have_masks_too(network):
    blocks = prune_and_train(
        IterativeMagnitude(0.75, rounds=2),
        network,
        lambda sparsity: Plan((Rule("first", BlockColumnRow(sparsity, (8, 32))),)),
        Loop(),
    )
    assert BlockColumnRow(0.75, (8, 32)).contains(network.first.weight.detach())
    assert set(blocks.masks) == {"first.weight"}


def test_fine_tuning_on_digits(network, data, accuracy):
    def loop(network, session):
        train(network, data, 8, session=session)

    prune_and_train(IterativeMagnitude(0.9), network, plan, loop)
    assert accuracy(network) > 0.93


def test_what_goes_wrong_gets_a_sentence(network):
    with pytest.raises(SpokeshaveError, match="fewer than early_epochs, 9, times"):
        prune_and_train(IterativeMagnitude(0.5, "early", early_epochs=9), network, plan, Loop())
    with pytest.raises(SpokeshaveError, match="after round 1: training diverged"):
        prune_and_train(IterativeMagnitude(0.5), network, plan, Loop(rate=1e30))
    with pytest.raises(SpokeshaveError, match="train must be a function, not None"):
        prune_and_train(IterativeMagnitude(0.5), network, lambda sparsity: None, None)
    with pytest.raises(SpokeshaveError, match="'trained' or 'early'"):
        IterativeMagnitude(0.5, "rewound")


@pytest.mark.parametrize(
    "scheme", [FixedPoint(4), Codebook(2), Polarized(4), Unstructured(0.5) & FixedPoint(8)], ids=str
)
@pytest.mark.parametrize("call", [find_masks, prune_and_train])
def test_schemes_that_ask_for_more_than_zeros_are_told_before_any_training(network, scheme, call):
    loop = Loop()
    with pytest.raises(
        SpokeshaveError, match=r"second\.weight: .* asks for levels or signs, which a mask does"
    ):
        call(IterativeMagnitude(0.5, rounds=2), network, lambda _: Plan((Rule("second", scheme),)), loop)
    assert not loop.begun


def test_a_plan_for_a_later_round_is_looked_at_before_the_first(network):
    loop = Loop()

    def blocks(sparsity):
        return Plan((Rule("second", Blocks(sparsity, (16, 32))),))

    with pytest.raises(SpokeshaveError, match=r"second.*leaves no block of 16 x 32"):
        find_masks(IterativeMagnitude(0.95, rounds=3), network, blocks, loop)
    assert not loop.begun


def test_modules_that_cannot_draw_fresh_weights(network):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.scale = network, nn.Parameter(torch.ones(1))

        def forward(self, inputs):
            return self.network(inputs) * self.scale

    scaled = Scaled()
    method, layers = IterativeMagnitude(0.5, "random"), {"network.second": Unstructured(0.5)}
    make = partial(Plan, tuple(Rule(name, scheme) for name, scheme in layers.items()))
    with pytest.raises(SpokeshaveError, match="the network cannot draw fresh weights"):
        prune_and_train(method, scaled, lambda sparsity: make(), Loop())
    prune_and_train(
        method, scaled, lambda sparsity: make(), Loop(), lambda _: network.second.reset_parameters()
    )
    assert int((scaled.network.second.weight != 0).sum()) == 64 * 32
