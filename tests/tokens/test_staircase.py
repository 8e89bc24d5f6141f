import pytest
import torch
from tests.tokens.networks import images, network

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens import (
    CLSAttention,
    Drop,
    Freeze,
    Learned,
    Package,
    Random,
    Threshold,
    TokenReducer,
    TopK,
    insert,
)
from spokeshave.tokens.staircase import Staircase
from spokeshave.tokens.work import realised_work


def test_between_counts_on_a_line_outside_in_proportion_and_with_gradients() -> None:
    block = Staircase.of({20: 4.0, 10: 1.0, 30: 3.0})
    assert block.seconds == (1.0, 4.0, 4.0)
    assert [block.at(count) for count in (5, 10, 15, 20, 25, 60)] == [0.5, 1, 2.5, 4, 4, 8]
    tokens = torch.tensor([5.0, 15.0, 25.0], requires_grad=True)
    block.expected(tokens).sum().backward()
    assert tokens.grad is not None
    torch.testing.assert_close(tokens.grad, torch.tensor([0.1, 0.3, 0.0]))


@pytest.mark.parametrize(("counts", "seconds"), [((), ()), ((2, 1), (1.0, 1.0)), ((1, 2), (1.0,))])
def test_tables_that_are_none(counts: tuple[int, ...], seconds: tuple[float, ...]) -> None:
    with pytest.raises(SpokeshaveError, match="rising token counts"):
        Staircase(counts, seconds)


@pytest.mark.parametrize(
    ("counts", "seconds", "wrong"),
    [
        ((0, 5), (1.0, 2.0), "0"),
        ((-1, 5), (1.0, 2.0), "-1"),
        ((1.5, 5), (1.0, 2.0), "1.5"),
        ((1, 5), (0.0, 2.0), "0.0"),
        ((1, 5), (float("nan"), 2.0), "nan"),
        ((1, 5), (1.0, float("inf")), "inf"),
    ],
)
def test_counts_and_seconds_that_cannot_be(
    counts: tuple[int, ...], seconds: tuple[float, ...], wrong: str
) -> None:
    with pytest.raises(SpokeshaveError, match=f"seconds above 0; {wrong} is none"):
        Staircase(counts, seconds)


def test_windows_attend_inside_themselves() -> None:
    """8 x 8 and 4 x 4 maps in windows of 4 x 4."""
    swin = network("swin")
    for keep, share in ((1.0, 1.0), (0.5, 0.5)):
        with insert(swin, TokenReducer(0, Random(), TopK(keep), Freeze())) as reduced, torch.no_grad():
            swin(images(1))
            work, _ = realised_work(reduced)
        first = 4 * 64 * share * (12 * 8**2 + 2 * 16 * share * 8)
        assert work.tolist() == [first + 2 * 16 * (12 * 16**2 + 2 * 16 * 16)]


def test_work_is_that_of_the_tokens_that_are_left() -> None:
    vit, inputs = network("lv-vit"), images(2)
    with insert(vit, TokenReducer(2, CLSAttention(), TopK(0.25), Drop())) as reduced, torch.no_grad():
        vit(inputs)
        work, selectors = realised_work(reduced)
    wanted = sum(tokens * 8 * 16 * 16 + 2 * tokens**2 * 16 for tokens in (17, 17, 5, 5))
    assert work.tolist() == [wanted, wanted]
    assert selectors.tolist() == [0, 0]


@pytest.mark.parametrize(("narrow", "features"), [(False, 8), (True, 4)])
def test_a_selectors_work_is_that_of_the_tokens_it_scores(narrow: bool, features: int) -> None:
    vit, scorer = network("lv-vit"), Learned(shared=True, narrow=narrow)
    reducers = [TokenReducer(place, scorer, Threshold(1.1), Package()) for place in (0, 2)]
    with insert(vit, reducers) as reduced, torch.no_grad():
        vit(images(1))
        _, selectors = realised_work(reduced)
    one = (
        2 * (8 * features + 4 * 4 + 4 * 2 + 2 * 2) + 2 * 1 * 2
    )  # two heads of 8 channels, and the branch that weighs them
    assert selectors.tolist() == [one * (16 + 1)]
