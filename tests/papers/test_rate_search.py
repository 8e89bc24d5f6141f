"""Progressive pruning ends at the largest rate of its steps at which nothing is lost."""

import pytest
from papers.rate_search import largest_rate


@pytest.mark.parametrize("true", [1.2, 2.5, 3.4, 5.0, 5.9, 6.0, 7.2, 9.0, 11.5])
def test_it_ends_within_a_step_below_the_truth(true: float):
    asked: list[float] = []

    def lossless(rate: float) -> bool:
        asked.append(rate)
        return rate <= true

    found = largest_rate(lossless, first=4.0, step=4.0)
    assert true - 1.0 <= found <= true
    assert len(asked) == len(set(asked)) <= 6


def test_it_ends_where_rates_end():
    assert largest_rate(lambda rate: True, first=4.0, step=4.0, most=10.0) == 10.0
