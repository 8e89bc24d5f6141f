"""What the table of schemes counts as packed."""

import torch
from papers.layerwise import packed_bytes
from torch import nn

from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint


def test_packed_bytes_are_the_schemes_own_and_float32_where_there_is_none():
    network = nn.Sequential(nn.Linear(16, 8), nn.Linear(8, 4))
    plan = Plan((Rule("0", FixedPoint(4)),))
    with torch.no_grad():
        network[0].weight.copy_(FixedPoint(4).project(network[0].weight))
    names = ["0.weight", "1.weight"]
    assert packed_bytes(network, names, None) == 4 * (16 * 8 + 8 * 4)
    own = FixedPoint(4).pack(network[0].weight.detach()).nbytes
    assert 16 * 8 // 2 < own < 4 * 16 * 8
    assert packed_bytes(network, names, plan) == own + 4 * 8 * 4
