import copy
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.data import Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.methods import ADMM, Steps, Teacher, begin, refresh_batch_norm, train
from spokeshave.methods.training import sgd


def largest_difference(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def test_it_learns_and_reports_every_epoch(network, data, accuracy):
    results, steps = [], []
    train(
        network,
        data,
        6,
        learning_rate=0.1,
        on_epoch=results.append,
        on_step=lambda done, total: steps.append((done, total)),
    )
    assert [result.epoch for result in results] == list(range(6))
    assert results[-1].loss < 0.5 * results[0].loss
    assert steps == [(step + 1, 6 * len(data.train)) for step in range(6 * len(data.train))]
    assert accuracy(network) > 0.9


def test_going_on_repeats_the_uninterrupted_run(make, data):
    whole, parts = make(), make()
    train(whole, data, 4)
    optimizer = sgd(parts, 0.05)

    class StopHereError(Exception):
        pass

    def stop(result):
        if result.epoch == 1:
            raise StopHereError

    with pytest.raises(StopHereError):
        train(parts, data, 4, optimizer=optimizer, on_epoch=stop)
    train(parts, data, 4, optimizer=optimizer, first_epoch=2)
    assert largest_difference(whole, parts) == 0


def test_another_schedule_sets_the_rates(network, data):
    optimizer, rates = sgd(network, 0.05), []
    train(
        network,
        data,
        2,
        optimizer=optimizer,
        schedule=Steps((0.5,)),
        on_step=lambda done, total: rates.append(optimizer.param_groups[0]["lr"]),
    )
    half = len(data.train)
    assert rates[:half] == pytest.approx([0.05] * half)
    assert rates[half:] == pytest.approx([0.005] * half)


def test_accelerate_runs_the_same_steps(make, data, plan):
    pytest.importorskip("accelerate")
    plain, accelerated = make(), make()
    for network, accelerate in ((plain, False), (accelerated, True)):
        session = begin(ADMM(rho=0.1), network, plan)
        train(network, data, 2, session=session, accelerate=accelerate)
    assert largest_difference(plain, accelerated) < 1e-6


def test_without_accelerate_the_extra_is_named(network, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(SpokeshaveError, match=r"pip install 'spokeshave\[loop\]'"):
        train(network, data, 1, accelerate=True)


def test_labels_that_are_all_left_out_are_told(network):
    batches = Batches(torch.randn(8, 1, 16, 16), torch.full((8,), -100), 4)
    with pytest.raises(SpokeshaveError, match="all labels of batch 0 are -100, which the loss leaves out"):
        train(network, Data(batches, batches, 10, "none"), 1)


def test_a_loss_that_explodes_is_one_sentence(network, data):
    with pytest.raises(SpokeshaveError, match="no longer finite in epoch"):
        train(network, data, 4, learning_rate=1e6)


def test_weights_that_the_last_step_spoils_are_named(network, data):
    """The loss of one step is that before the step."""
    images, labels = next(iter(data.train))
    one_step = replace(data, train=[(images, labels)])
    with pytest.raises(SpokeshaveError, match=r"first\.weight holds infinite values or NaN after epoch 0"):
        train(network, one_step, 1, learning_rate=1e30, loss=lambda *both: 1e20 * F.cross_entropy(*both))


@pytest.mark.parametrize("empty", [[], iter([]), Batches(torch.empty(0, 256), torch.empty(0).long(), 4)])
def test_data_without_a_batch_is_told(network, data, empty):
    with pytest.raises(SpokeshaveError, match=r"epoch 0 saw not one batch: .* give a list or a loader"):
        train(network, replace(data, train=empty), 1)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"epochs": -1}, "epochs must be a whole number from 0 up, not -1"),
        ({"epochs": 1.5}, r"epochs must be a whole number from 0 up, not 1\.5"),
        ({"first_epoch": -1}, "first_epoch must be a whole number from 0 up, not -1"),
        ({"precision": torch.float16}, r"precision must be torch\.float32 or torch\.bfloat16"),
        ({"session": ADMM()}, "session must be a Session, not ADMM"),
        ({"teacher": nn.Linear(2, 2)}, "teacher must be a Teacher, not Linear"),
        ({"data": []}, "data must be a Data, not list"),
        ({"network": None}, "train needs a network, .*, not None"),
        ({"learning_rate": "0.1"}, "learning_rate must be at least 0 and finite, not '0.1'"),
    ],
)
def test_settings_that_cannot_be_are_told(network, data, setting, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        train(**{"network": network, "data": data, "epochs": 1} | setting)


def test_a_network_does_not_teach_itself(network, data):
    with pytest.raises(SpokeshaveError, match="train: the teacher is the network itself"):
        train(network, data, 1, teacher=Teacher(network))


@pytest.mark.parametrize("at", [0.5, ("a",), (2.0,)])
def test_rates_that_fall_at_no_part_of_the_training_are_told(at):
    with pytest.raises(SpokeshaveError, match="Steps: at are parts of the training from 0 to 1"):
        Steps(at)


def test_batch_norms_are_not_reset_without_data():
    network = nn.Sequential(nn.BatchNorm1d(3))
    network[0].running_mean += 5
    with pytest.raises(SpokeshaveError, match="not one batch of it"):
        refresh_batch_norm(network, [])
    assert bool((network[0].running_mean == 5).all())
    with pytest.raises(SpokeshaveError, match="passes must be a whole number from 1 up"):
        refresh_batch_norm(network, [], passes=-1)


def test_samples_that_are_not_finite_are_named(network, data):
    inputs, labels = list(data.train)[1]
    batches = [*data.train]
    batches[1] = (torch.full_like(inputs, torch.nan), labels)
    with pytest.raises(SpokeshaveError, match="epoch 0: batch 1 of the training data holds"):
        train(network, replace(data, train=batches), 1)


def test_a_teacher_alone_can_teach(make, data, accuracy):
    teacher = make(seed=1)
    train(teacher, data, 6, learning_rate=0.1)
    wrong = [(inputs, torch.zeros_like(labels)) for inputs, labels in data.train]
    pupil = make(seed=2)
    unlabelled = Data(wrong, data.held_out, data.classes, "unlabelled")
    train(pupil, unlabelled, 15, learning_rate=0.1, teacher=Teacher(teacher, share=1.0, temperature=2.0))
    assert accuracy(pupil) > 0.85
    assert teacher.first.weight.grad is not None


def test_refreshed_batch_norms_hold_the_statistics_of_the_data():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm1d(3)).eval()
    inputs = torch.randn(400, 3) * 5 + 2
    refresh_batch_norm(network, [(part, part) for part in inputs.split(100)], passes=4)
    assert torch.allclose(network[0].running_mean, inputs.mean(0), atol=1e-4)
    assert torch.allclose(network[0].running_var, inputs.var(0), rtol=0.05)
    assert network[0].momentum == 0.1
    assert not network.training


def test_the_loop_gives_the_layout_back(data):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(784, 10))
    before = copy.deepcopy(network)
    train(network, data, 1)
    assert network[0].weight.is_contiguous()
    assert largest_difference(before, network) > 0


def test_bfloat16_operators_learn_with_float32_weights(make, data, accuracy):
    exact, rounded = make(), make()
    teacher = Teacher(copy.deepcopy(exact))
    train(exact, data, 6, learning_rate=0.1, teacher=teacher)
    train(rounded, data, 6, learning_rate=0.1, teacher=teacher, precision=torch.bfloat16)
    assert all(parameter.dtype == torch.float32 for parameter in rounded.parameters())
    assert largest_difference(exact, rounded) > 0
    assert accuracy(rounded) > 0.9


def test_a_label_that_is_no_class(network, data):
    wrong = Batches(data.train.inputs[:64], torch.full((64,), 10), 32)
    with pytest.raises(SpokeshaveError, match="label 10 is out of range: there are scores for 10 classes"):
        train(network, Data(wrong, wrong, 10, "wrong"), 1)


def test_processes_share_out_every_batch(data):
    loader = Batches(torch.arange(11.0)[:, None], torch.arange(11), 4)
    parts = [list(loader.shared(number, 2)) for number in range(2)]
    assert [len(part) for part in parts] == [len(loader.shared(0, 2))] * 2
    for (whole, labels), *shares in zip(loader, *parts, strict=True):
        assert torch.equal(torch.cat([share[0] for share in shares]), whole)
        assert torch.equal(torch.cat([share[1] for share in shares]), labels)
    assert (
        len(Batches(torch.zeros(9, 1), torch.zeros(9), 4).shared(0, 2)) == 2
    )  # one sample is not enough for two
