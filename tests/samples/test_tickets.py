from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spokeshave.errors import SpokeshaveError
from spokeshave.samples import blank, kept_by, pack, random_tickets, ticket_size, tickets_of


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 40), st.data())
def test_random_tickets_have_one_size(samples: int, patches: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, patches))
    tickets = random_tickets(samples, patches, size, torch.Generator().manual_seed(0))
    assert tickets.shape == (samples, size)
    assert torch.equal(tickets_of(kept_by(tickets, patches)), tickets)


def test_random_tickets_are_uniform_and_differ() -> None:
    tickets = random_tickets(4_000, 10, 3, torch.Generator().manual_seed(0))
    shares = torch.bincount(tickets.flatten(), minlength=10) / 4_000
    assert (shares - 0.3).abs().max() < 0.04
    assert len({tuple(row) for row in tickets.tolist()}) == 120


def test_packed_patches_are_the_chosen_ones_in_raster_order() -> None:
    images = torch.randn(5, 3, 12, 12)
    tickets = random_tickets(5, 9, 4)
    packed = pack(images, tickets, 4)
    assert packed.shape == (5, 3, 8, 8)
    for image, small, ticket in zip(images, packed, tickets.tolist(), strict=True):
        for place, number in enumerate(ticket):
            row, column = divmod(number, 3)
            there = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            y, x = divmod(place, 2)
            assert torch.equal(small[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4], there)


def test_all_patches_change_nothing() -> None:
    images = torch.randn(2, 3, 8, 8)
    everything = torch.arange(4).expand(2, -1)
    assert torch.equal(pack(images, everything, 4), images)
    assert torch.equal(blank(images, everything, 4), images)


def test_blanked_patches_are_zeros() -> None:
    images = torch.ones(3, 2, 8, 8)
    blanked = blank(images, torch.tensor([[0], [1], [3]]), 4)
    assert blanked.sum((1, 2, 3)).tolist() == [32, 32, 32]
    assert (blanked[2, :, 4:, 4:] == 1).all()


IMAGES = torch.zeros(1, 3, 12, 12)
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: ticket_size(196, 0), "above 0 and at most 1, not 0"),
    (lambda: ticket_size(0, 0.5), "of 1 patch or more, left at 0 places or more, not of 0"),
    (lambda: random_tickets(2, 9, 10), "has 1 to 9 of them, not 10"),
    (lambda: random_tickets(2, 9, 1.5), "has 1 to 9 of them, not 1.5"),
    (lambda: random_tickets(-2, 9, 3), "0 images or more, not for -2"),
    (lambda: pack(IMAGES, torch.arange(5)[None], 4), "5 patches make no square; choose 4 or 9"),
    (lambda: pack(IMAGES, torch.zeros(1, 0).long(), 4), "0 patches make no square; choose 1, or"),
    (lambda: pack(IMAGES, torch.zeros(2, 4).long(), 4), r"of shape \(1, 3, 12, 12\) with 2 tickets"),
    (lambda: blank(IMAGES, torch.arange(5)[None], 5), "5 x 5 do not tile images of 12 x 12"),
    (lambda: blank(IMAGES, torch.arange(5)[None], 0), "0 x 0 do not tile"),
    (lambda: blank(IMAGES, torch.tensor([[2, 9]]), 4), "patches 0 to 8, and no 9"),
    (lambda: blank(IMAGES[0], torch.tensor([[2]]), 4), r"are \[N, C, H, W\] with a ticket each"),
    (lambda: kept_by(torch.tensor([[-1]]), 4), "patches 0 to 3, and no -1"),
    (lambda: kept_by(torch.tensor([[0.5]]), 4), "numbers of patches .N, K., not torch.float32"),
    (lambda: tickets_of(torch.tensor([[True, False], [True, True]])), "here they are 1 to 2"),
    (
        lambda: tickets_of(torch.rand(2, 4)),
        "truth values .N, patches. of one image or more, not of torch.float32",
    ),
    (lambda: tickets_of(torch.ones(0, 4).bool()), r"shape \(0, 4\)"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_wrong_tickets_are_one_sentence(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises(SpokeshaveError, match=said):
        wrong()
