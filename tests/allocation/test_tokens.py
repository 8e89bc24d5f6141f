import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from tests.tokens.networks import images, network

from spokeshave.allocation.tokens import (
    TokenBudget,
    allocate_tokens,
    insert_from_back,
    merge_stages,
    reducers_of,
    token_losses,
)
from spokeshave.errors import SpokeshaveError
from spokeshave.tokens import Drop, Random, insert
from spokeshave.tokens.staircase import Staircase

STEPS = Staircase(tuple(range(1, 198)), tuple(float(-(-count // 16)) for count in range(1, 198)), "modelled")
SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)


def budget(limit: float) -> TokenBudget:
    return TokenBudget(limit, STEPS, blocks=12, patches=196, shares=SHARES)


@given(some.floats(67, 156), some.lists(some.floats(0.01, 5), min_size=9, max_size=9))
def test_the_limit_is_met_and_used(limit: float, hurts: list[float]) -> None:
    losses = {
        place: [hurt * (1 - share) ** 2 for share in SHARES]
        for place, hurt in zip(range(3, 12), hurts, strict=True)
    }
    placement = allocate_tokens(budget(limit), losses)
    assert budget(limit).seconds(placement) <= limit
    shares = [placement[place] for place in sorted(placement)]
    assert shares == sorted(shares, reverse=True)
    assert all(before - after >= 0.085 for before, after in zip([1.0, *shares], shares, strict=False))


def test_tokens_leave_where_it_hurts_least() -> None:
    losses = {place: [0.0, 1, 2, 3, 4] if place != 6 else [0.0, 0, 0, 0, 0] for place in range(3, 12)}
    assert allocate_tokens(budget(budget(0).seconds({6: 0.2})), losses) == {6: 0.2}


def test_a_limit_that_nothing_reaches_says_the_lowest() -> None:
    lowest = budget(1000).seconds({3: 0.2})
    with pytest.raises(
        SpokeshaveError, match=f"cannot be met.* take {1e3 * lowest / 1e4:.2g}e.04 ms .modelled., the lowest"
    ):
        allocate_tokens(budget(20), {})
    with pytest.raises(SpokeshaveError, match="lowest that was acceptable is"):
        insert_from_back(budget(80), lambda placement: False)


def test_from_the_back_until_it_is_met() -> None:
    """Where only the last six blocks bear it, nothing is tried in front of them."""
    tried = []

    def acceptable(placement: dict[int, float]) -> bool:
        tried.append(placement)
        return all(share >= 0.4 for share in placement.values()) and min(placement) >= 6

    limit = budget(0).seconds({7: 0.4})
    placement = insert_from_back(budget(limit), acceptable)
    assert placement == {7: 0.4}
    assert [min(one) for one in tried] == sorted((min(one) for one in tried), reverse=True)
    with pytest.raises(SpokeshaveError, match=r"acceptable is 1\.08e\+05 ms"):
        insert_from_back(budget(limit - 20), acceptable)


def test_placements_become_reducers() -> None:
    vit, inputs = network("vit"), images(2)
    small = TokenBudget(1.0, Staircase((1, 17), (1.0, 17.0)), 4, 16, dense=1, shares=(1.0, 0.75, 0.5, 0.25))
    losses = token_losses(small, vit, [inputs])
    assert list(losses) == [1, 2, 3]
    assert all(lost[0] == 0 and min(lost[1:]) > 0 for lost in losses.values())
    with insert(vit, reducers_of({1: 0.75, 3: 0.25}, Random(), Drop())) as reduced, torch.no_grad():
        vit(inputs)
        assert reduced.counts[:, 0].tolist() == [17, 13, 13, 5]


def test_merged_stages_keep_the_first_place() -> None:
    assert merge_stages({3: 0.95, 5: 0.7, 6: 0.64, 9: 0.5}) == {5: 0.7, 9: 0.5}
    assert merge_stages({}) == {}


def test_mistakes() -> None:
    with pytest.raises(SpokeshaveError, match="shares must go down from 1"):
        TokenBudget(1.0, STEPS, 12, 196, shares=(0.9, 0.5))
    with pytest.raises(SpokeshaveError, match="the first 1 to 2"):
        TokenBudget(1.0, STEPS, 3, 196, dense=3)
    with pytest.raises(SpokeshaveError, match="patches must be a whole number from 1 up"):
        TokenBudget(1.0, STEPS, 12, 0)
    with pytest.raises(SpokeshaveError, match="limit must be at least 0 and finite"):
        TokenBudget(float("nan"), STEPS, 12, 196)
    losses = {place: [0.0, 1, 2, 3, 4] for place in range(3, 12)}
    with pytest.raises(SpokeshaveError, match="losses lack place 11; give those of 3 to 11"):
        allocate_tokens(budget(100), {place: losses[place] for place in range(3, 11)})
    with pytest.raises(SpokeshaveError, match="place 4 has losses that are no numbers"):
        allocate_tokens(budget(100), {**losses, 4: [0.0, float("nan"), 2, 3, 4]})
    for share in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(SpokeshaveError, match="a placement has shares above 0 and at most 1"):
            budget(100).seconds({4: share})
        with pytest.raises(SpokeshaveError, match="shares are of all patches, above 0 and at most 1"):
            reducers_of({3: share}, Random(), Drop())
    with pytest.raises(SpokeshaveError, match="none above the one before"):
        reducers_of({3: 0.5, 6: 0.8}, Random(), Drop())
    with pytest.raises(SpokeshaveError, match="place 3 has 2 losses for 5 shares"):
        allocate_tokens(budget(100), {place: [0.0, 1.0] for place in range(3, 12)})
