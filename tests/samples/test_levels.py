"""The levels together, in a transformer that knows nothing of them."""

import torch
from papers.image_transformer import fresh
from papers.tri_level_training import LEVELS, SHAPE, Trainee, side_by_side, trainee

from spokeshave.data import Batches
from spokeshave.samples import KeepSchedule, LinkPruning, ScheduledTokens, prune_links


def images() -> Batches:
    torch.manual_seed(0)
    return Batches(torch.randn(60, 1, 28, 28), torch.randint(10, (60,)), 20, shuffle=True)


def test_tokens_fall_by_the_schedule_and_leave_no_trace() -> None:
    network, batch = fresh(0).eval(), torch.randn(2, 3, 32, 32)
    dense = network(batch)
    tokens = ScheduledTokens(network, (1, 2), KeepSchedule(0.5, hold=0.0, fall=0.5))
    counts = []
    for step in (0, 2, 4, 8):
        tokens.at(step, 8)
        network(batch)
        counts.append(tokens.inserted.counts[:, 0].tolist())
    assert counts == [[65] * 4, [65, 49, 37, 37], [65, 33, 17, 17], [65, 33, 17, 17]]
    tokens.remove()
    assert torch.equal(network(batch), dense)


def test_links_read_what_tokens_leave() -> None:
    network, batch = fresh(0), torch.randn(2, 3, 32, 32)
    tokens = ScheduledTokens(network, (1, 3), KeepSchedule(0.5, hold=0.0, fall=0.0))
    links = prune_links(network, LinkPruning(0.25, after=(0,)), tokens.alive)
    tokens.at(1, 1)
    network(batch).sum().backward()
    assert links.keys == (65, 9, 9, 5)


def test_all_levels_train_with_less_of_everything() -> None:
    levels = {"dense": frozenset[str](), "all": frozenset(LEVELS)}
    running = {name: trainee(images(), each, 2, 0) for name, each in levels.items()}
    before = fresh(0, SHAPE).state_dict()
    side_by_side(running)
    assert running["dense"].used == [60, 60]
    assert running["all"].used == [48, 48]
    assert running["all"].work < 0.8 * running["dense"].work
    for each in running.values():
        assert moved(each, before)


def moved(each: Trainee, before: dict[str, torch.Tensor]) -> bool:
    return all(not torch.equal(value, before[name]) for name, value in each.network.state_dict().items())
