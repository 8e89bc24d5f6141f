"""Row orders: permutations within groups that bring similar rows together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.kernels import reorder
from spokeshave.compiler.kernels.reorder import similar_rows
from spokeshave.compiler.schedule import Product, schedule_for


def panel_columns(kept: np.ndarray, rows: int) -> int:
    return int(np.logical_or.reduceat(kept, np.arange(0, len(kept), rows), axis=0).sum())


@given(
    groups=st.integers(1, 3), height=st.integers(1, 40), width=st.integers(1, 9), seed=st.integers(0, 1000)
)
def test_every_row_once_and_in_its_group(groups, height, width, seed):
    kept = np.random.default_rng(seed).integers(0, 2, (groups * height, width)).astype(bool)
    order = similar_rows(kept, groups).reshape(groups, height)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.arange(groups * height).reshape(groups, height))


def test_of_very_many_rows_those_near_each_other_are_compared(monkeypatch):
    generator = np.random.default_rng(0)
    kept = np.repeat(generator.random((12, 30)) < 0.3, 4, axis=0)[generator.permutation(48)]
    kept[np.arange(48), generator.integers(0, 30, 48)] ^= True  # hardly two of them are equal
    kept[:, :6] = (np.arange(48)[:, None] >> np.arange(6)) & 1  # and now none
    monkeypatch.setattr(reorder, "MOST_COMPARED", 20)
    order = similar_rows(kept)
    np.testing.assert_array_equal(np.sort(order[:20]), np.arange(20))
    np.testing.assert_array_equal(np.sort(order[20:40]), np.arange(20, 40))
    np.testing.assert_array_equal(np.sort(order[40:]), np.arange(40, 48))
    assert panel_columns(kept[order], 4) < panel_columns(kept, 4)


def test_equal_rows_are_found_among_very_many(monkeypatch):
    generator = np.random.default_rng(0)
    shared = np.repeat(generator.random((40, 60)) < 0.3, 8, axis=0)
    kept = shared[generator.permutation(320)]
    monkeypatch.setattr(reorder, "MOST_COMPARED", 32)
    assert panel_columns(kept[similar_rows(kept)], 8) == panel_columns(shared, 8)


@pytest.mark.parametrize("sharing", [2, 4, 8, 16])
def test_rows_that_share_columns_are_found_again(sharing):
    generator = np.random.default_rng(0)
    shared = np.repeat(generator.random((64 // sharing, 200)) < 0.2, sharing, axis=0)
    kept = shared[generator.permutation(64)]
    assert panel_columns(kept[similar_rows(kept)], sharing) == panel_columns(shared, sharing)
    assert panel_columns(kept, sharing) > 1.5 * panel_columns(shared, sharing)


@pytest.mark.parametrize("kept", [np.ones((20, 7), bool), np.zeros((20, 7), bool), np.eye(1, dtype=bool)])
def test_where_nothing_can_be_gained_rows_stay_as_they_are(kept):
    np.testing.assert_array_equal(similar_rows(kept), np.arange(len(kept)))


def test_rows_and_columns_of_different_strength_gain():
    """Unstructured sparsity as trained weights have it: a column that matters to one row matters to others."""
    generator = np.random.default_rng(0)
    strength = np.exp(0.5 * generator.standard_normal((256, 1)) + 0.5 * generator.standard_normal(512))
    weight = np.abs(strength * generator.standard_normal((256, 512)))
    product = Product(weight > np.quantile(weight, 0.9), 1, (), 64, 49)
    schedule = schedule_for(product, instruction_set("avx512"))
    assert schedule.reordered
    assert schedule.rows > 1
    assert product.panel_columns(8, reordered=True) < 0.75 * product.panel_columns(8)
