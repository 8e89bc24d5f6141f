"""Attention in whole numbers: products exact, probabilities rounded once, overflow known before it happens."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler.integers import (
    IntegerDeployment,
    IntegerForm,
    load_integer_deployment,
    whole_network,
)
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.operations import QuantizedAttention
from spokeshave.deployment import Cost
from spokeshave.errors import SpokeshaveError

BYTES = IntegerForm(rescale="multiplier", joins="separate", attention="whole")
FORMS = {
    "bytes": BYTES,
    "signed": IntegerForm(rescale="multiplier", joins="separate", signed=True, attention="whole"),
    "float32 scales": IntegerForm(attention="whole"),
    "shifts": IntegerForm(
        per="tensor", scales="power_of_two", rescale="shift", joins="separate", signed=True, attention="whole"
    ),
}


class Attending(nn.Module):
    """Queries, keys and values by linear layers; fewer heads of keys, a mask or causality where asked."""

    def __init__(self, heads=4, key_heads=4, causal=False, masked=False):
        super().__init__()
        self.heads, self.key_heads, self.causal = heads, key_heads, causal
        self.query = nn.Linear(16, 4 * heads)
        self.key, self.value = nn.Linear(16, 4 * key_heads), nn.Linear(16, 4 * key_heads)
        self.out = nn.Linear(4 * heads, 8)
        self.mask = (
            nn.Parameter(torch.zeros(7, 7).masked_fill(torch.eye(7) > 0, -math.inf)) if masked else None
        )

    def forward(self, x):
        query = self.query(x).unflatten(2, (self.heads, 4)).transpose(1, 2)
        key, value = (
            layer(x).unflatten(2, (self.key_heads, 4)).transpose(1, 2) for layer in (self.key, self.value)
        )
        made = F.scaled_dot_product_attention(
            query, key, value, self.mask, is_causal=self.causal, enable_gqa=self.heads != self.key_heads
        )
        return self.out(made.transpose(1, 2).flatten(2))


NETWORKS = {
    "plain": Attending(),
    "grouped": Attending(heads=4, key_heads=2),
    "causal": Attending(causal=True),
    "masked": Attending(masked=True),
}


def made(network, form):
    torch.manual_seed(0)
    samples = torch.randn(24, 7, 16)
    return whole_network(network.eval(), samples[:1], [samples], form), samples


def by_hand(operation, query, key, value, mask):
    """What one sample's levels come to, head by head and row by row, in Python's own numbers."""
    how, (q, k, v) = operation.attention, operation.inputs
    size, each = len(query[0]) // how.heads, how.heads // how.key_heads
    rows = []
    for row in range(len(query)):
        outputs = []
        for head in range(how.heads):
            mine, theirs = slice(head * size, (head + 1) * size), (head // each) * size
            theirs = slice(theirs, theirs + size)
            seen = [
                column
                for column in range(len(key))
                if not (how.causal and column > row) and mask[row][column] == 0
            ]
            sums = [
                sum(
                    (a - q.zero_point) * (b - k.zero_point)
                    for a, b in zip(query[row][mine], key[column][theirs], strict=True)
                )
                for column in seen
            ]
            scores = torch.tensor([one * how.scale * q.scale * k.scale for one in sums]).float()
            levels = (scores.softmax(0) / operation.probability.scale).round()
            levels = levels.clamp(0, operation.probability.high)
            outputs += [
                sum(
                    p * (value[column][channel] - v.zero_point)
                    for p, column in zip(levels.tolist(), seen, strict=True)
                )
                for channel in range(theirs.start, theirs.stop)
            ]
        rows.append(outputs)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("form", FORMS)
def test_levels_are_those_of_sums_by_hand(name, form):
    network = NETWORKS[name]
    whole, samples = made(network, FORMS[form])
    (node,) = [node for node in whole.graph.nodes if isinstance(node.operation, QuantizedAttention)]
    values = batch_values(whole.graph, [samples[:1]])
    operation, output = node.operation, node.operation.output
    mask = torch.zeros(7, 7) if network.mask is None else network.mask.detach()
    sums = by_hand(operation, *(values[name][0].tolist() for name in node.inputs[:3]), mask.tolist())
    exact = sums * (operation.probability.scale * operation.inputs[2].scale / output.scale)
    wanted = (exact + output.zero_point).clamp(output.low, output.high)
    assert (values[node.output][0] - wanted).abs().max() <= 0.5 + 1e-3  # rounded to the nearest level


@pytest.mark.parametrize("form", FORMS)
def test_the_network_is_near_its_float32_self(form):
    whole, samples = made(NETWORKS["plain"], FORMS[form])
    told = dict(whole.floats)
    assert [*told.values()] == ["it stands between the two products of attention"]
    deployment = IntegerDeployment(whole, FORMS[form], Cost("modelled", "nothing"))
    wanted = NETWORKS["plain"](samples)
    bound = 0.1 if form == "shifts" else 0.05  # a scale that must be a power of two may waste a bit
    assert (deployment(samples) - wanted).abs().max() < bound * wanted.abs().max()


def test_without_it_attention_stays_float32():
    whole, _ = made(NETWORKS["plain"], IntegerForm())
    assert not any(isinstance(node.operation, QuantizedAttention) for node in whole.graph.nodes)
    assert [reason for _, reason in whole.floats] == ["Attention has no form in whole numbers"]


def test_it_is_saved_and_loaded(tmp_path):
    whole, samples = made(NETWORKS["causal"], BYTES)
    deployment = IntegerDeployment(whole, BYTES, Cost("modelled", "nothing"))
    deployment.save(tmp_path / "saved")
    loaded = load_integer_deployment(tmp_path / "saved")
    assert torch.equal(loaded(samples), deployment(samples))
    assert loaded.manifest == deployment.manifest


def test_sums_that_overflow_are_refused():
    network = NETWORKS["plain"]
    widest = max(
        entry.bits
        for entry in IntegerDeployment(
            made(network, BYTES)[0], BYTES, Cost("modelled", "nothing")
        ).manifest.accumulators
    )
    narrow = IntegerForm(
        rescale="multiplier", joins="separate", attention="whole", accumulator_bits=widest - 1
    )
    with pytest.raises(SpokeshaveError, match=r"its sums can reach from .* accumulators have"):
        made(network, narrow)
