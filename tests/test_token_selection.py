"""The operator that removes tokens, against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.token_selection import kept_tokens, most_tokens, select_tokens, tokens_left


def _by_loop(tokens: Tensor, scores: Tensor, leading: int, packages: int, rest: str) -> Tensor:
    """One sample, token by token."""
    kept, removed, weights = list(tokens[:leading]), [], []
    last = len(tokens) - packages
    for place in range(leading, len(tokens)):
        older = place >= last
        if (older and rest != "merge") or (not older and scores[place - leading] >= 0.5):
            kept.append(tokens[place])
        else:
            removed.append(tokens[place])
            weights.append(scores[place - leading])
    if rest == "drop":
        return torch.stack(kept)
    package = torch.zeros(tokens.shape[1])
    total = sum(weights) if sum(weights) > 1e-6 else len(removed)
    for token, weight in zip(removed, weights, strict=True):
        package += token * (weight if sum(weights) > 1e-6 else 1.0) / total
    return torch.stack([*kept, package])


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 9),
    st.integers(1, 2),
    st.integers(0, 2),
    st.sampled_from(["drop", "package", "merge"]),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.4, 1.0]),
)
def test_selection_is_a_loop(count, leading, packages, rest, seed, share):
    """Every rest, with leading tokens and older packages, with scores that keep all, some or none."""
    torch.manual_seed(seed)
    tokens = torch.randn(1, leading + count + packages, 3)
    scores = torch.where(torch.rand(1, count + packages) < share, 0.9, torch.rand(1, count + packages) * 0.4)
    found = select_tokens(tokens, scores, "s", leading=leading, packages=packages, rest=rest)
    torch.testing.assert_close(found[0], _by_loop(tokens[0], scores[0], leading, packages, rest))
    assert found.shape[1] <= most_tokens(tokens.shape[1], None, leading, packages, rest)


def test_a_count_keeps_the_largest_scores_in_order_of_the_tokens():
    """Of equal scores the first."""
    tokens, scores = torch.arange(5.0).view(1, 5, 1), torch.tensor([[0.1, 0.7, 0.7, 0.7]])
    assert select_tokens(tokens, scores, "s", count=2).flatten().tolist() == [0, 2, 3]


def test_one_token_is_always_left():
    """Where there is no class token and no score is large enough."""
    kept = kept_tokens(torch.tensor([[0.1, 0.4, 0.2], [0.9, 0.1, 0.6]]), 0.5, None, 0, 0)
    assert kept.tolist() == [[False, True, False], [True, False, True]]


def test_scores_of_zero_make_a_plain_mean():
    """And a package of nothing is zeros."""
    tokens = torch.arange(4.0).view(1, 4, 1)
    assert select_tokens(tokens, torch.zeros(1, 3), "s", rest="package").flatten().tolist() == [0, 2]
    assert select_tokens(tokens, torch.ones(1, 3), "s", rest="package").flatten().tolist() == [0, 1, 2, 3, 0]


class _Network(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        """As many tokens as a score says."""
        return select_tokens(tokens, tokens[:, 1:, 0], "only").mean(1)


def test_an_export_sees_the_sizes_that_are_told():
    """As many tokens as there can be, where nothing is told."""
    for sizes, wanted in (({}, 6), ({"only": 4}, 4), ({"other": 4}, 6)):
        with tokens_left(sizes):
            program = torch.export.export(_Network(), (torch.zeros(1, 6, 2),)).run_decompositions({})
        (node,) = (node for node in program.graph.nodes if "select_tokens" in str(node.target))
        assert node.meta["val"].shape == (1, wanted, 2)


@pytest.mark.parametrize(
    ("tokens", "scores", "kinds"),
    [
        (torch.float32, torch.float16, "float32 and scores float16"),
        (torch.float32, torch.bool, "float32 and scores bool"),
        (torch.int64, torch.int64, "int64 and scores int64"),
    ],
)
def test_types_that_do_not_agree_are_one_sentence(tokens, scores, kinds):
    with pytest.raises(SpokeshaveError, match=f"tokens are {kinds}; both must be of one floating type"):
        select_tokens(torch.zeros(1, 4, 1).to(tokens), torch.ones(1, 3).to(scores), "s", rest="package")


@pytest.mark.parametrize(
    ("tokens", "scores", "settings", "sentence"),
    [
        ((2, 4, 1), (2, 3), {}, "keep 2 to 4 tokens at 's'"),
        ((1, 4, 1), (1, 4), {}, r"one for each token is \(1, 3\)"),
        ((1, 4, 1), (1, 3), {"rest": "freeze"}, "there is no rest 'freeze'"),
        ((1, 4, 1), (1, 3), {"count": -1}, "-1 tokens cannot be kept"),
        ((0, 4, 1), (0, 3), {}, "in a batch of one sample or more, and 's' was given none"),
        ((1, 1, 1), (1, 0), {"packages": 1}, "hold no 1 leading tokens and 1 packages"),
    ],
)
def test_wrong_inputs_are_one_sentence(tokens, scores, settings, sentence):
    """What does not fit, and batches that would be ragged."""
    given = torch.zeros(scores)
    given[:1] = 1.0
    given[:, :1] = 1.0
    with pytest.raises(SpokeshaveError, match=sentence):
        select_tokens(torch.zeros(tokens), given, "s", **settings)
