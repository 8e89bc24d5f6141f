"""What the papers' checks do to networks: masks and shares of the right size, filters that are really gone."""

import pytest
import torch
from papers.image_transformer import Shape, fresh, multiply_adds
from papers.small_vit import SmallViT
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from papers import clicktrain, lpvit, prune_and_finetune_trials, small_images, trials
from spokeshave.data import DATA
from spokeshave.methods import OneShot, begin
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.ranking import density


def small_images_of_digits():
    data = DATA["digits"]()
    return small_images.Images(data, data.held_out, "digits")


def test_patterns_and_filters_have_one_density():
    images = small_images_of_digits()
    patterned, thin = (small_images.small_network(images, 0) for _ in range(2))
    begin(OneShot(), patterned, clicktrain.PATTERNS).finish()
    begin(OneShot(), thin, clicktrain.filters(thin)).finish()
    clicktrain.silence(thin)
    for block in (*patterned.blocks, *thin.blocks):
        assert density(block.conv1.weight) == density(block.conv2.weight) == clicktrain.DENSITY
    scheme = clicktrain.PATTERNS.rules[0].scheme
    assert isinstance(scheme, Patterns)
    assert scheme.contains(patterned.blocks[0].conv1.weight.detach())


def test_a_filter_that_is_gone_says_nothing():
    images = small_images_of_digits()
    thin = small_images.small_network(images, 0).eval()
    for block in thin.blocks:
        nn.init.normal_(block.bn1.bias)
    begin(OneShot(), thin, clicktrain.filters(thin)).finish()
    clicktrain.silence(thin)
    block, seen = thin.blocks[1], []
    block.bn1.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    thin(next(iter(images.test))[0])
    dead = ~block.conv1.weight.flatten(1).any(1)
    assert 0 < int(dead.sum()) < len(dead)
    assert not seen[0][:, dead].any()
    assert seen[0][:, ~dead].any()


def test_masks_of_every_kind_leave_the_share_and_the_first_layer_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "RUNS", tmp_path)
    recipe = small_images.Recipe(epochs=1, samples=64)
    trial = prune_and_finetune_trials.Trial(small_images_of_digits(), recipe, 0, "masks", adequate=True)
    names, iterative = prune_and_finetune_trials.plan(0.5).resolve(trial.network()), trial.iterative()
    assert "0.weight" not in names
    for sparsity in prune_and_finetune_trials.SPARSITIES:
        kinds = [trial.largest(sparsity), iterative[sparsity], trial.drawn(sparsity)]
        kinds.append(trial.shuffled(kinds[0]))
        for masks in kinds:
            assert set(masks) == set(names)
            for mask in masks.values():
                assert abs(int(mask.sum()) - (1 - sparsity) * mask.numel()) < 2
        assert not any(torch.equal(kinds[3][name], kinds[0][name]) for name in names)
    before, after = (iterative[sparsity] for sparsity in prune_and_finetune_trials.SPARSITIES[:2])
    assert all(bool((before[name] | ~after[name]).all()) for name in names)  # what is gone stays gone


def test_random_shares_keep_what_is_asked_of_unequal_parts():
    sizes = {"one": 0.7, "two": 0.2, "three": 0.1}
    shares = trials.random_shares(sizes, 0.6, seed=1)
    assert abs(sum(size * shares[name] for name, size in sizes.items()) - 0.6) < 1e-6
    assert shares != trials.random_shares(sizes, 0.6, seed=2)


def test_a_pruned_transformer_keeps_the_share_of_its_work():
    torch.manual_seed(0)
    subject = lpvit.Subject(SmallViT(16), DATA["digits"](), calibration=64)
    shares = dict.fromkeys(subject.names, 0.5)
    parts = lpvit.work_of(lpvit.trace(subject.network, subject.example), shares).parts
    assert abs(lpvit.left(subject.pruned(shares), parts) - 0.5) < 0.01
    assert lpvit.left(subject.network, parts) > 0.999


@pytest.mark.parametrize("convolutions", [False, True])
def test_the_work_of_an_embedding_is_counted(convolutions: bool):
    shape = Shape(channels=1, side=28, convolutions=convolutions)
    network, images = fresh(0, shape), torch.zeros(1, 1, 28, 28)
    assert network(images).shape == (1, 10)
    with FlopCounterMode(display=False) as counted:
        network.patch(images)
    assert counted.get_total_flops() == 2 * multiply_adds(shape, [])
