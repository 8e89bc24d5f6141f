"""The findings of the further part, and how uneven a router is."""

import pytest
import torch

pytest.importorskip("transformers")
from papers.moe_pruner_routers import CRITERIA, ROUTERS, SCHEMES, found, uneven


def records(ours: float, spread: float) -> list[dict]:
    """Two seeds for every router; Wanda's perplexity is 10."""
    entries = []
    for router in ROUTERS:
        for seed in (0, 1):
            of = {"router": router, "seed": seed}
            entries.append(of | {"imbalance": 0.5, "larger_gate": 0.75})
            entries.append(of | {"scheme": "dense", "criterion": "dense", "perplexity": 8.0})
            entries += [
                of | {"scheme": scheme, "criterion": criterion, "perplexity": value}
                for scheme in SCHEMES
                for criterion, value in zip(CRITERIA, (ours + spread * seed, 10.0, 20.0), strict=True)
            ]
    return entries


@pytest.mark.parametrize(
    ("ours", "spread", "verdict"), [(9.0, 0.1, True), (9.8, 1.0, False), (11.0, 0.1, False)]
)
def test_a_gap_counts_that_is_wider_than_its_spread(ours, spread, verdict):
    clocked = [{"scheme": name, "milliseconds": 1.0, "perplexity": 9.0} for name in SCHEMES]
    clocked.append({"scheme": "dense", "milliseconds": 2.0, "perplexity": 8.0})
    *beside, clock = found(records(ours, spread), clocked)
    assert len(beside) == len(ROUTERS) * len(SCHEMES)
    assert {one.verdict for one in beside} == {"reproduced" if verdict else "not reproduced"}
    assert all("deviation over mean: 0.50, 0.50" in one.note for one in beside)
    assert clock.verdict == "reproduced"
    clocked[0]["milliseconds"] = 2.1
    assert found(records(ours, spread), clocked)[-1].verdict == "not reproduced"


def test_a_router_that_asks_two_experts_alone_is_uneven():
    """Of eight: a quarter of the tokens is the mean, the root of three quarters of a half the deviation."""
    logits = torch.zeros(40, 8)
    logits[:, :2] = 5.0
    assert uneven(logits) == pytest.approx({"imbalance": 3**0.5, "larger_gate": 0.5})
    one_each = torch.eye(8) * 10 + torch.eye(8).roll(1, 1) * 8
    assert uneven(one_each)["imbalance"] == 0
    assert uneven(one_each)["larger_gate"] == pytest.approx(1 / (1 + torch.tensor(-2.0).exp().item()))
