"""LAMP's scores and shares by them, and what OPQ's part about thresholds decides by itself."""

import pytest
import torch
from papers.opq_thresholds import BARE, LAMP, NORMALISED, OURS, findings, lamp, shares
from torch import nn


def test_a_weights_lamp_score_is_its_square_over_what_is_no_smaller():
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    sizes = weight.double().flatten().square().sort().values
    wanted = [float(one / sizes[sizes >= one].sum()) for one in sizes]
    assert lamp(weight).tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("name", [OURS, BARE, NORMALISED, LAMP])
def test_shares_meet_the_sparsity(name):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 60), nn.Linear(60, 30), nn.Linear(30, 20))
    with torch.no_grad():
        network[1].weight.mul_(3)
    sizes = {each: one.numel() for each, one in network.named_parameters() if each.endswith("weight")}
    kept = shares(network, name, 0.7)
    assert sum(kept[each] * size for each, size in sizes.items()) / sum(sizes.values()) == pytest.approx(
        0.3, abs=1e-3
    )
    if name in (OURS, BARE):
        assert kept["1.weight"] > 0.5


@pytest.mark.parametrize(("alike", "verdict"), [(0.9999, "reproduced"), (0.99, "not reproduced")])
def test_the_closed_form_is_one_threshold_where_the_masks_agree(alike, verdict):
    rows = [
        {
            "allocation": name,
            "sparsity": sparsity,
            "seed": seed,
            "pruned": 0.8 if name == OURS else 0.7,
            "alike": alike,
        }
        for sparsity in (0.7, 0.8)
        for name in (OURS, BARE, NORMALISED, LAMP)
        for seed in (0, 1)
    ]
    found = findings(rows)
    assert all(one.control for one in found)
    assert [one.verdict for one in found] == [verdict, "reproduced", "reproduced"] * 2
