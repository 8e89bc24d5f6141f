from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from spokeshave.data import Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import train
from spokeshave.samples import ExamplePruning, ExampleSampler, PrunedLoader


def toy() -> Batches:
    torch.manual_seed(0)
    inputs = torch.randn(100, 6)
    return Batches(inputs, inputs[:, :3].argmax(1), 16, shuffle=True)


def test_training_with_fewer_examples_exchanges_easy_ones() -> None:
    batches = toy()
    pruned = PrunedLoader(batches, ExampleSampler(100, ExamplePruning(0.7, 0.1, every=2, last=4), 6))
    before = set(pruned.sampler.kept.tolist())
    train(
        torch.nn.Linear(6, 3),
        Data(pruned, batches, 3, "toy"),
        6,
        learning_rate=0.5,
        on_scores=pruned.after_batch,
        on_epoch=lambda _: pruned.after_epoch(),
    )
    assert pruned.sampler.used == [70] * 6
    assert set(pruned.sampler.kept.tolist()) != before


def test_shorter_passes_are_shorter_by_the_same_share() -> None:
    sampler = ExampleSampler(100, ExamplePruning(0.7, 0.1, 1, 1), 2)
    pruned = PrunedLoader(replace(toy(), per_pass=50), sampler)
    assert pruned.samples == 35 == sum(len(labels) for _, labels in pruned)
    assert len(pruned) == len(list(pruned)) == 3


def test_a_data_loader_of_the_users_own_is_pruned() -> None:
    batches = toy()
    loader = DataLoader(TensorDataset(batches.inputs, batches.labels), batch_size=16, shuffle=True)
    pruned = PrunedLoader(loader, ExampleSampler(100, ExamplePruning(0.7, 0.1, 1, 1), 2))
    found = [(inputs, labels) for inputs, labels in pruned]
    assert len(found) == len(pruned) == 5
    order = pruned.sampler.order()
    assert torch.equal(torch.cat([inputs for inputs, _ in found]), batches.inputs[order])
    assert torch.equal(torch.cat([labels for _, labels in found]), batches.labels[order])


def test_loaders_without_numbers_are_refused() -> None:
    sampler = ExampleSampler(100, ExamplePruning(0.7, 0.1, 1, 1), 2)
    for loader in ([(torch.zeros(2, 3), torch.zeros(2))], DataLoader([1, 2], batch_size=None)):
        with pytest.raises(SpokeshaveError, match="have no numbers, so that none can be left out"):
            PrunedLoader(loader, sampler)


def test_scores_before_any_batch_are_refused() -> None:
    pruned = PrunedLoader(toy(), ExampleSampler(100, ExamplePruning(0.7, 0.1, 1, 1), 2))
    with pytest.raises(SpokeshaveError, match="it has given none yet"):
        pruned.after_batch(torch.zeros(2, 3), torch.zeros(2).long())
