from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

from spokeshave.errors import SpokeshaveError
from spokeshave.samples import ExamplePruning, ExampleSampler, Indexed
from spokeshave.samples.sampler import exchange

PRUNING = ExamplePruning(keep=0.8, swap=0.1, every=1, last=4)


def judge(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and labels by which low numbers are easy."""
    return torch.stack((numbers.float(), torch.full((len(numbers),), 20.0)), 1), torch.ones_like(numbers)


def run_epochs(sampler: ExampleSampler, epochs: int, passes: int = 1) -> list[list[int]]:
    orders = []
    for _ in range(epochs):
        order = list(sampler)
        for _ in range(passes):
            numbers = torch.tensor(order)
            sampler.after_batch(numbers, *judge(numbers))
        sampler.after_epoch()
        orders.append(order)
    return orders


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 60), st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.integers(0, 3))
def test_as_many_examples_train_in_every_epoch(count: int, keep: float, seed: int) -> None:
    pruning = ExamplePruning(keep, min(0.05, 1 - keep), every=1, last=4)
    sampler = ExampleSampler(count, pruning, 6, seed)
    for order in run_epochs(sampler, 6):
        assert len(order) == len(set(order)) == count - pruning.removed(count)
        assert sorted([*sampler.kept.tolist(), *sampler.removed.tolist()]) == list(range(count))
    assert sampler.used == [count - pruning.removed(count)] * 6


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.data())
def test_an_exchange_removes_the_lowest_and_restores_others(count: int, data: st.DataObject) -> None:
    out = data.draw(st.integers(1, count - 1))
    moved = data.draw(st.integers(0, min(out, count - out)))
    scores = torch.randint(0, 4, (count,)).float()
    order = torch.randperm(count)
    kept, removed = exchange(order[out:], order[:out], scores, moved, torch.Generator().manual_seed(1))
    gone = set(order[out:].tolist()) - set(kept.tolist())
    assert len(gone) == moved
    assert len(set(kept.tolist()) & set(order[:out].tolist())) == moved
    assert Counter([*kept.tolist(), *removed.tolist()]) == Counter(range(count))
    stayed = set(order[out:].tolist()) - gone
    assert not gone or not stayed or scores[list(gone)].max() <= scores[list(stayed)].min()


def test_a_seed_repeats_and_another_does_not() -> None:
    first, again, other = (run_epochs(ExampleSampler(50, PRUNING, 5, seed), 5) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_going_on_from_a_state_is_what_would_have_been() -> None:
    whole = ExampleSampler(50, PRUNING, 6)
    interrupted = ExampleSampler(50, PRUNING, 6)
    expected = run_epochs(whole, 6)
    assert run_epochs(interrupted, 2) == expected[:2]
    numbers = torch.arange(9)
    interrupted.after_batch(numbers, *judge(numbers))  # of an epoch that is lost
    resumed = ExampleSampler(50, PRUNING, 6)
    resumed.restore(interrupted.state())
    assert run_epochs(resumed, 4) == expected[2:]
    assert resumed.used == whole.used


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(10, 40))
def test_processes_share_out_what_one_trains_on(processes: int, count: int) -> None:
    one = list(ExampleSampler(count, PRUNING, 6, 1))
    parts = [list(ExampleSampler(count, PRUNING, 6, 1, (number, processes))) for number in range(processes)]
    assert len({len(part) for part in parts}) == 1
    found = [number for part in parts for number in part]
    assert len(set(found)) == len(found) > len(one) - processes
    assert set(found) <= set(one)


def test_the_easiest_go_first() -> None:
    sampler = ExampleSampler(40, ExamplePruning(0.8, 0.2, every=1, last=1, score="loss"), 2)
    before = sampler.kept
    run_epochs(sampler, 1)
    gone = sorted(set(before.tolist()) - set(sampler.kept.tolist()))
    assert gone == before[:8].tolist()  # low numbers are easy


def test_a_data_loader_gives_numbers() -> None:
    samples = [(torch.tensor([float(number)]), number % 3) for number in range(20)]
    sampler = ExampleSampler(20, PRUNING, 5)
    loader = DataLoader(Indexed(samples), batch_size=4, sampler=sampler)
    found = []
    for numbers, (inputs, labels) in loader:
        assert inputs[:, 0].long().tolist() == numbers.tolist()
        sampler.after_batch(numbers, torch.randn(len(numbers), 3), labels)
        found += numbers.tolist()
    sampler.after_epoch()
    assert len(found) == 16
    assert sampler.used == [16]


@pytest.mark.parametrize(
    ("numbers", "scores", "labels", "sentence"),
    [
        (None, torch.zeros(2, 3), torch.zeros(2).long(), r"wrapped: Indexed\(dataset\)"),
        (torch.zeros(2), torch.zeros(2, 3), torch.zeros(2).long(), r"needs the numbers \[B\]"),
        (torch.arange(2), torch.zeros(2, 3), torch.zeros(3).long(), "got 2 numbers, scores of shape"),
        (torch.tensor([0, 99]), torch.zeros(2, 3), torch.zeros(2).long(), "examples 0 to 9, and no 99"),
        (torch.arange(2), torch.zeros(2, 3), torch.tensor([0, 3]), "labels are from 0 to 2"),
        (torch.arange(2), torch.zeros(2, 3), torch.tensor([0, -100]), "so many scores, not -100"),
        (torch.tensor([True, False]), torch.zeros(2, 3), torch.zeros(2).long(), r"needs the numbers \[B\]"),
        (
            torch.arange(2),
            torch.zeros(2, 3),
            torch.zeros(2),
            "labels of torch.float32; they are whole numbers",
        ),
        (torch.arange(2), torch.zeros(2, 3), [0, 1], "labels as list; both are tensors"),
    ],
)
def test_wrong_batches_are_one_sentence(
    numbers: Tensor, scores: Tensor, labels: Tensor, sentence: str
) -> None:
    sampler = ExampleSampler(10, PRUNING, 5)
    with pytest.raises(SpokeshaveError, match=sentence):
        sampler.after_batch(numbers, scores, labels)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32])
def test_numbers_and_labels_of_any_whole_type(kind: torch.dtype) -> None:
    sampler = ExampleSampler(10, PRUNING, 5)
    sampler.after_batch(torch.arange(4).to(kind), torch.zeros(4, 3), torch.ones(4).to(kind))
    sampler.after_epoch()
    assert sampler.used == [4]


@pytest.mark.parametrize("share", [(0, 0), (2, 2), (-1, 2), (0, -1), (0,), (0.5, 2), 3])
def test_shares_are_a_number_and_how_many(share: object) -> None:
    with pytest.raises(SpokeshaveError, match="a process's number from 0 on and how many there are"):
        ExampleSampler(20, PRUNING, 5, share=share)


def test_states_of_other_examples_are_refused() -> None:
    with pytest.raises(SpokeshaveError, match="here it is 16 and 4"):
        ExampleSampler(20, PRUNING, 5).restore(ExampleSampler(10, PRUNING, 5).state())
    with pytest.raises(SpokeshaveError, match="too few stay for 9 processes"):
        ExampleSampler(10, PRUNING, 5, share=(0, 9))
