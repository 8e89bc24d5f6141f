"""Subset kernels: columns in the order of the rows that use them, and the same results as PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spokeshave.compiler import schedule
from spokeshave.compiler.compile import compile_network
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.kernels.packing import pack_panels
from spokeshave.compiler.kernels.subsets import SubsetPanels
from spokeshave.compiler.schedule import SUBSET_ROWS, Product, schedule_for
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.unstructured import Unstructured


@given(
    height=st.integers(1, 11), width=st.integers(1, 12), seed=st.integers(0, 10_000),
    density=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
)  # fmt: skip
def test_subsets_hold_the_matrix(height, width, seed, density):
    generator = np.random.default_rng(seed)
    matrix = (
        generator.standard_normal((height, width)) * (generator.random((height, width)) < density)
    ).astype(np.float32)
    subsets = SubsetPanels.of(pack_panels(matrix, SUBSET_ROWS))
    found = np.zeros_like(matrix)
    for panel in range(subsets.count):
        rows = subsets.row_numbers[panel * SUBSET_ROWS :][:SUBSET_ROWS]
        column, weight = subsets.column_start[panel], subsets.weight_start[panel]
        for subset, end in enumerate(subsets.ends[panel]):
            used = [row for row in range(SUBSET_ROWS) if (subset + 1) >> row & 1]
            while column < subsets.column_start[panel] + end:
                found[rows[used], subsets.columns[column]] = subsets.weights[weight : weight + len(used)]
                column, weight = column + 1, weight + len(used)
        assert column == subsets.column_start[panel + 1]
        assert weight == subsets.weight_start[panel + 1]
    np.testing.assert_array_equal(found, matrix)
    assert len(subsets.weights) >= np.count_nonzero(matrix)


def test_scattered_weights_choose_subsets_and_shared_columns_do_not():
    generator = np.random.default_rng(0)
    scattered = generator.random((256, 512)) < 0.2
    shared = np.repeat(generator.random((32, 512)) < 0.1, 8, axis=0)
    isa = instruction_set("avx512")
    assert schedule_for(Product(scattered, 1, (), 64, 49), isa).by_subsets
    assert not schedule_for(Product(shared, 1, (), 64, 49), isa).by_subsets
    assert not schedule_for(Product(np.ones((64, 64), bool), 1, (), 64, 49), isa).by_subsets


@pytest.mark.parametrize("scheme", [Unstructured(0.85), NOfM(2, 4), Patterns(0.6)], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_layers_equal_pytorch(scheme, groups, isa, monkeypatch):
    """Rows that no panel fills, a stride, lanes that no tile divides, a residual, grouped channels.

    The estimate prefers panels where columns have masks; the tuner may not.
    """
    monkeypatch.setattr(schedule, "MASK_CYCLES", 0.0)

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(96, 62, 3, padding=1, groups=groups)
            self.second = nn.Conv2d(62, 62, 3, stride=2, padding=1, groups=groups)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.relu(self.first(x))
            return F.relu(self.second(x) + x[:, :, ::2, ::2])

    torch.manual_seed(0)
    network = Layer().eval()
    for layer in (network.first, network.second):
        layer.weight.data = scheme.project(layer.weight.data)
    x = torch.randn(3, 96, 11, 13)
    deployment = compile_network(network, x[:1], isa=isa)
    steps = [step for stage in deployment.manifest.stages for step in stage.steps]
    by_subsets = [step.schedule.by_subsets for step in steps if step.schedule is not None]
    assert any(by_subsets) or groups == 2  # small groups have too few columns where registers are few
    torch.testing.assert_close(deployment(x), network(x), rtol=1e-4, atol=1e-5)
