import torch

from spokeshave.data import Batches, Data, digits


def loader(**changes):
    settings = {"inputs": torch.arange(40.0).view(10, 1, 2, 2), "labels": torch.arange(10), "size": 4}
    return Batches(**(settings | changes))


def test_a_pass_gives_every_sample_once_and_the_rest_last():
    passes = [labels for _, labels in loader(shuffle=True)]
    assert [len(labels) for labels in passes] == [4, 4, 2]
    assert torch.cat(passes).sort().values.tolist() == list(range(10))


def test_inputs_stay_with_their_labels():
    for inputs, labels in loader(shuffle=True):
        assert torch.equal(inputs[:, 0, 0, 0], labels * 4.0)


def test_an_equal_seed_gives_an_equal_pass_and_the_next_pass_differs():
    batches = digits(batch_size=100).train
    torch.manual_seed(5)
    first, second = [x for x, _ in batches], [x for x, _ in batches]
    torch.manual_seed(5)
    again = [x for x, _ in batches]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], second[0])


def test_shortened_and_batched_change_the_training_loader_only():
    data = Data(loader(shuffle=True), loader(), classes=10, name="ten")
    changed = data.batched(3).shortened(6)
    assert [len(labels) for _, labels in changed.train] == [3, 3]
    assert len(changed.train) == 2
    assert changed.held_out is data.held_out


def test_loaders_of_the_users_own_are_left_alone():
    own = [(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))]
    assert Data(own, own, classes=1, name="own").batched(7).train is own
