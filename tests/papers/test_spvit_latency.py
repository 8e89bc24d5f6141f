"""What is said of SPViT's compiled networks follows from the times."""

from papers.spvit_latency import findings


def test_a_speed_up_and_a_share_are_judged_apart() -> None:
    fast, dear = findings({"dense": 1.5, "mean": 0.9, "tail": 1.2, "selectors": 0.03})
    assert fast.measured == "1.67 times as fast: 0.900 of 1.500 ms, 1.200 at 95 %"
    assert (fast.verdict, dear.verdict) == ("reproduced", "not reproduced")
    slow, cheap = findings({"dense": 1.4, "mean": 1.0, "tail": 1.2, "selectors": 0.02})
    assert (slow.verdict, cheap.verdict) == ("not reproduced", "reproduced")
