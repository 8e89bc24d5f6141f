from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spokeshave.attention_call import AttentionCall
from spokeshave.errors import SpokeshaveError
from spokeshave.samples import KeepSchedule, LinkPruning, prune_links
from spokeshave.samples.links import Per, attention_map, kept_keys, restrict, row_mask


class Attending(nn.Module):
    """Three attentions in a row, of two heads; between them some patches may leave."""

    def __init__(self, stays: dict[int, Tensor] | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(8, 24) for _ in range(3))
        self.stays = stays or {}
        self.alive: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        self.alive = None
        for number, layer in enumerate(self.layers):
            if number in self.stays:
                self.alive = self.stays[number].expand(len(tokens), -1)
                places = torch.cat((torch.tensor([True]), self.stays[number])).nonzero()[:, 0]
                tokens = tokens[:, places]
            query, key, value = layer(tokens).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(query, key, value)
            tokens = tokens + mixed.transpose(1, 2).flatten(2)
        return tokens


def by_hand(network: Attending, tokens: Tensor, pruning: LinkPruning) -> Tensor:
    """The same with explicit softmaxes and masks, no reductions between."""
    chosen = None
    for number, layer in enumerate(network.layers):
        query, key, value = layer(tokens).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / 2
        full = scores.softmax(-1).mean(1)
        if chosen is not None:
            scores = scores.masked_fill(~mask_of(chosen, pruning)[:, None], -torch.inf)
        if number in pruning.after:
            chosen = full
        tokens = tokens + (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
    return tokens


def mask_of(scores: Tensor, pruning: LinkPruning) -> Tensor:
    if pruning.per == "row":
        return row_mask(scores, pruning)
    received = scores[:, pruning.leading :: pruning.stride, pruning.leading :].sum(1)
    keys = kept_keys(received, pruning)
    read = torch.zeros(scores.shape[0], scores.shape[2], dtype=torch.bool).scatter(1, keys, True)
    return read[:, None].expand_as(scores)


@pytest.mark.parametrize("per", ["row", "key"])
@pytest.mark.parametrize("after", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("keep", [0.3, 0.7, 1.0])
def test_pruned_attention_is_masked_attention(per: Per, after: tuple[int, ...], keep: float) -> None:
    network, tokens, pruning = Attending(), torch.randn(3, 9, 8), LinkPruning(keep, after, per)
    dense = network(tokens)
    pruned = prune_links(network, pruning)
    assert torch.allclose(network(tokens), by_hand(network, tokens, pruning), atol=1e-5)
    assert pruned.keys == (9,) * (after[0] + 1) + (1 + pruning.count(8),) * (2 - after[0])
    pruned.remove()
    assert torch.equal(network(tokens), dense)


@pytest.mark.parametrize("stride", [2, 3, 8])
def test_some_patches_choose_for_all(stride: int) -> None:
    network, tokens, pruning = Attending(), torch.randn(3, 9, 8), LinkPruning(0.3, (0,), stride=stride)
    prune_links(network, pruning)
    assert torch.allclose(network(tokens), by_hand(network, tokens, pruning), atol=1e-5)


def test_links_are_chosen_among_the_patches_that_are_left() -> None:
    stays = {1: torch.tensor([1, 1, 0, 1, 0, 1, 1, 1]).bool(), 2: torch.tensor([1, 1, 1, 0, 0, 1]).bool()}
    network, tokens = Attending(stays), torch.randn(2, 9, 8)
    second = stays[1].clone()
    second[stays[1]] = stays[2]
    pruned = prune_links(
        network,
        LinkPruning(0.5, after=(0,)),
        lambda: (
            None
            if network.alive is None
            else (stays[1] if len(network.alive[0]) == 8 else second).expand(2, -1)
        ),
    )
    network(tokens)
    assert pruned.keys == (9, 4, 3)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 12), st.floats(0.05, 1.0), st.integers(0, 2))
def test_counts_of_links_are_exact(patches: int, keep: float, leading: int) -> None:
    pruning = LinkPruning(keep, (0,), "row", leading)
    scores = torch.rand(3, patches + leading, patches + leading).softmax(-1)
    mask = row_mask(scores, pruning)
    assert (mask[:, leading:].sum(2) == pruning.count(patches) + leading).all()
    assert mask[:, :leading].all()
    keys = kept_keys(scores[:, leading:, leading:].sum(1), pruning)
    assert keys.shape[1] == pruning.count(patches) + leading
    assert all(len(set(row)) == len(row) and row == sorted(row) for row in keys.tolist())


def test_a_row_keeps_its_strongest_links() -> None:
    scores = torch.rand(1, 6, 6)
    mask = row_mask(scores, LinkPruning(0.4))
    for row, kept in zip(scores[0, 1:, 1:], mask[0, 1:, 1:], strict=True):
        assert row[kept].min() >= row[~kept].max()


def test_restricting_gathers_both_sides() -> None:
    scores = torch.arange(16.0).view(1, 4, 4)
    found = restrict(scores, torch.tensor([[True, False, True]]), leading=1)
    assert found[0].tolist() == [[0, 1, 3], [4, 5, 7], [12, 13, 15]]
    assert restrict(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[True, False, True]]), 1).tolist() == [
        [1, 3]
    ]


def test_a_map_is_the_mean_softmax() -> None:
    query, key = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    found = attention_map(AttentionCall(query, key, key))
    assert torch.allclose(found.sum(-1), torch.ones(2, 5))
    assert torch.allclose(found[0], (query[0] @ key[0].mT / 2).softmax(-1).mean(0), atol=1e-6)


def test_gradients_reach_all_layers() -> None:
    network = Attending()
    prune_links(network, LinkPruning(0.5, (0,)))
    network(torch.randn(2, 9, 8)).square().sum().backward()
    assert all(layer.weight.grad is not None and layer.weight.grad.norm() > 0 for layer in network.layers)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"keep": 0.0}, "share of links that stays, above 0 and at most 1, not 0.0"),
        ({"after": ()}, "after names attentions"),
        ({"after": 3}, r"counted from 0, such as \(3, 6, 9\), not 3"),
        ({"after": (1.5,)}, "after names attentions"),
        ({"leading": -1}, "leading counts class tokens, 0 or more, not -1"),
        ({"stride": 0}, "stride is 1 or more, and 1 where every row chooses for itself, not 0"),
        ({"stride": 2, "per": "row"}, "and 1 where every row chooses for itself, not 2"),
        ({"per": "head"}, "per is 'row' or 'key', not 'head'"),
    ],
)
def test_wrong_settings_are_one_sentence(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(SpokeshaveError, match=sentence):
        LinkPruning(**settings)


def test_networks_that_do_not_fit_are_refused() -> None:
    linear = nn.Linear(2, 2)
    prune_links(linear, LinkPruning())
    with pytest.raises(SpokeshaveError, match="called scaled_dot_product_attention 0 times"):
        linear(torch.zeros(1, 2))
    masked = Attending()
    prune_links(masked, LinkPruning(0.5, (2,)))
    with pytest.raises(SpokeshaveError, match="needs an attention behind it"):
        masked(torch.zeros(1, 9, 8))
    shrinking = Attending({1: torch.tensor([1, 1, 0, 1, 0, 1, 1, 1]).bool()})
    prune_links(shrinking, LinkPruning(0.5, (0,)))
    with pytest.raises(SpokeshaveError, match="give prune_links an `alive`"):
        shrinking(torch.zeros(1, 9, 8))


@given(st.floats(0.05, 1.0), st.integers(10, 300))
def test_a_schedule_begins_whole_and_falls(keep: float, steps: int) -> None:
    shares = [KeepSchedule(keep)(step, steps) for step in range(steps + 1)]
    assert shares[0] == 1
    assert shares[-1] == keep
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(shares))


def test_schedules_that_end_after_the_training_are_refused() -> None:
    with pytest.raises(SpokeshaveError, match="end after it"):
        KeepSchedule(0.5, hold=0.7, fall=0.5)
    with pytest.raises(SpokeshaveError, match="at least 0 and together at most 1"):
        KeepSchedule(0.5, hold=float("nan"))
    with pytest.raises(SpokeshaveError, match=r"above 0 and at most 1, not 1\.5"):
        KeepSchedule(1.5)
