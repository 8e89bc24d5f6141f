from dataclasses import asdict

import pytest
import torch
from torch import nn

from spokeshave.devices import load_device
from spokeshave.devices.profile import profile
from spokeshave.plan import Plan
from spokeshave.report.table import profile_table
from spokeshave.token_selection import select_tokens
from spokeshave.workload import trace


class Residual(nn.Module):
    """Two convolutions that share a weight, a sum, a recurrent layer and a head."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(8, 8, 3, padding=1)
        self.memory = nn.GRU(36, 16, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = torch.relu(self.convolution(torch.relu(self.convolution(x))) + x)
        return self.head(self.memory(x.flatten(2))[0].mean(1))


EXAMPLE = torch.randn(3, 8, 6, 6)


def test_on_this_cpu_every_step_has_its_time_and_every_layer_its_work():
    network = Residual()
    result = profile(network, EXAMPLE, load_device("host"))
    assert (result.device, result.kind) == ("host", "measured")
    assert sum(row.share for row in result.rows) == pytest.approx(1)
    assert result.seconds == pytest.approx(sum(row.seconds for row in result.rows))
    workload = trace(network, EXAMPLE)
    assert sum(row.multiply_adds for row in result.rows) == workload.multiply_adds
    by_layer = {
        name: [row for row in result.rows if row.layer == name] for name in ("convolution", "memory", "head")
    }
    assert [row.multiply_adds for row in by_layer["convolution"]] == [8 * 72 * 36] * 2
    (memory,) = [row for row in by_layer["memory"] if row.weights]
    assert memory.operator == "Recurrent"
    assert memory.weights == 48 * 36 + 48 * 16
    assert by_layer["head"][0].shape == (4, 16)


def test_time_major_layers_are_profiled_over_all_their_steps():
    result = profile(nn.Sequential(nn.GRU(6, 8)), torch.randn(9, 2, 6), load_device("host"))
    assert sum(row.multiply_adds for row in result.rows) == 9 * 24 * (6 + 8)


def test_on_a_modelled_device_the_rows_are_its_costs():
    network = nn.Sequential(
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Conv2d(32, 8, 2)
    )
    device = load_device("galaxy-s10-gpu")
    dense = profile(network, EXAMPLE, device)
    pruned = profile(network, EXAMPLE, device, Plan.for_compression(network, 4))
    assert dense.kind == "modelled"
    assert [row.layer for row in dense.rows] == ["0", "2", "4"]
    assert dense.seconds == pytest.approx(device.cost(trace(network, EXAMPLE)).latency_seconds)
    assert [row.operator for row in dense.rows] == ["Convolution"] * 3
    assert pruned.rows[1].seconds < dense.rows[1].seconds
    assert pruned.rows[0].seconds == dense.rows[0].seconds


class Fewer(nn.Module):
    """Tokens stay whose first channel is positive."""

    def forward(self, x):
        return select_tokens(x, torch.sigmoid(x[:, 1:, 0]), "one").mean(1)


def test_token_selectors_say_how_many_they_leave_of_the_sample():
    tokens = torch.randn(2, 30, 8)
    result = profile(Fewer(), tokens, load_device("host"))
    left = 1 + int((tokens[0, 1:, 0] >= 0).sum())
    assert result.tokens == {"one": left}
    assert f"one leaves {left} tokens" in str(profile_table(asdict(result)).caption)
