"""Keeping the largest, with exact counts and ties broken by position, against a plain sort."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spokeshave.schemes.ranking import SHORT, keep_largest, keep_largest_per_row, kept_count

values = st.lists(st.integers(-2, 2), min_size=1, max_size=12)


def first_largest(numbers: list[int], count: int) -> list[bool]:
    order = sorted(range(len(numbers)), key=lambda index: -numbers[index])[: max(0, count)]
    return [index in order for index in range(len(numbers))]


@given(values, st.integers(-1, 14))
@settings(deadline=None)
def test_keep_largest(numbers, count) -> None:
    assert keep_largest(torch.tensor(numbers, dtype=torch.float32), count).tolist() == first_largest(
        numbers, count
    )


@pytest.mark.parametrize("width", [1, 5, SHORT, SHORT + 1, 24])
@pytest.mark.parametrize("equal", [True, False])
@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_keep_largest_per_row(width, equal, data) -> None:
    rows = data.draw(st.lists(st.tuples(*[st.integers(-2, 2)] * width), min_size=1, max_size=4))
    counts = data.draw(st.lists(st.integers(0, width), min_size=len(rows), max_size=len(rows)))
    if equal:
        counts = counts[:1] * len(rows)
    kept = keep_largest_per_row(torch.tensor(rows, dtype=torch.float32), torch.tensor(counts))
    assert kept.tolist() == [first_largest(list(row), count) for row, count in zip(rows, counts, strict=True)]


@given(st.integers(1, 500), st.integers(2, 50))
@settings(deadline=None)
def test_counts_are_not_lost_to_rounding(size, compression) -> None:
    assert kept_count(size * compression, 1 - 1 / compression) == size
