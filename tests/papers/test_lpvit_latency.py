"""What the further part of LPViT's check decides by itself."""

import pytest
from papers.lpvit_latency import EVEN, TENTHS, TIME, WORK, findings, fitting


def test_the_largest_share_that_fits_is_chosen():
    chosen = fitting(lambda shares: shares["layer"] <= 0.65, lambda share: {"layer": share}, TENTHS)
    assert chosen["layer"] == pytest.approx(0.6)


@pytest.mark.parametrize(("by_time", "verdict"), [(0.9, "reproduced"), (0.7, "not reproduced")])
def test_accuracies_are_compared_at_equal_time(by_time, verdict):
    def one(accuracy):
        return {"accuracy": accuracy, "time": 0.7, "multiply_adds": 0.5}

    found = findings([{TIME: one(by_time + step), WORK: one(0.8), EVEN: one(0.75)} for step in (0, 0.01)])
    assert [each.verdict for each in found] == [verdict, verdict]
    assert "0.70 of the time, 0.50 of the multiply-adds" in found[0].note
