"""Schedules: the estimate agrees with what is packed, and picks tiles that suit the pattern."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokeshave.compiler.isa import instruction_set, instruction_sets
from spokeshave.compiler.kernels.packing import pack_panels
from spokeshave.compiler.schedule import Product, candidates, schedule_for

ISA = instruction_set("avx512")


def product(kept: np.ndarray, groups: int = 1, blocks=(), channels: int = 64, vectors: int = 49) -> Product:
    return Product(kept, groups, blocks, channels, vectors)


@given(
    groups=st.integers(1, 3), height=st.integers(1, 11), width=st.integers(1, 9), rows=st.integers(1, 12),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_estimated_columns_are_the_packed_ones(groups, height, width, rows, seed):
    matrix = np.random.default_rng(seed).integers(0, 2, (groups * height, width)).astype(np.float32)
    assert product(matrix != 0, groups).panel_columns(rows) == len(pack_panels(matrix, rows, groups).columns)


def test_rows_that_share_columns_get_wide_panels_and_scattered_weights_narrow_ones():
    generator = np.random.default_rng(0)
    shared = np.repeat(generator.random((8, 256)) < 0.1, 8, axis=0)
    scattered = generator.random((64, 256)) < 0.1
    assert schedule_for(product(shared), ISA).rows == 8
    assert schedule_for(product(scattered), ISA).rows < 4


def test_columns_with_masks_of_their_own_make_subsets_dearer():
    """Rows that share some of their columns: subsets, unless every column of theirs is read under a mask."""
    generator = np.random.default_rng(0)
    shared = np.repeat(generator.random((16, 256)) < 0.3, 4, axis=0) & (generator.random((64, 256)) < 0.7)
    ways = [schedule_for(replace(product(shared), masked=masked), ISA).by_subsets for masked in (False, True)]
    assert ways == [True, False]


def test_workers_share_out_what_is_more():
    kept = np.ones((64, 576), bool)
    assert schedule_for(product(kept, vectors=203), ISA).by_lanes
    assert not schedule_for(product(kept, vectors=4), ISA).by_lanes


def test_blocks_that_lose_rows_are_accumulated_over_shared_lanes():
    generator = np.random.default_rng(0)
    blocks = tuple(
        (np.sort(generator.permutation(64)[:16]), np.arange(32 * i, 32 * i + 32)) for i in range(8)
    )
    kept = np.zeros((64, 256), bool)
    for rows, columns in blocks:
        kept[np.ix_(rows, columns)] = True
    chosen = schedule_for(product(kept, blocks=blocks), ISA)
    assert chosen.by_blocks
    assert chosen.by_lanes


@pytest.mark.parametrize("name", instruction_sets())
@pytest.mark.parametrize("threads", [1, 2])
def test_candidates_begin_with_the_estimate_and_fit_the_lanes(name, threads):
    isa = instruction_sets()[name]
    one = product(np.ones((64, 64), bool))
    found = candidates(one, isa, threads)
    assert found[0] == schedule_for(one, isa)
    assert len(set(found)) == len(found) > 1
    assert all(1 <= schedule.chunk <= one.vectors for schedule in found)
    assert (len({schedule.by_lanes for schedule in found}) > 1) == (threads > 1)


def test_keys_tell_products_apart():
    ones = np.ones((8, 16), bool)
    other = ones.copy()
    other[3, 5] = False
    block = ((np.arange(4), np.arange(16)), (np.arange(4, 8), np.arange(16)))
    different = [
        product(ones), product(other), product(ones, 2), product(ones, blocks=block), product(ones, channels=3),
        product(ones, vectors=7), product(ones.reshape(16, 8)), replace(product(ones), masked=True),
    ]  # fmt: skip
    assert len({one.key for one in different}) == len(different)
    assert product(ones).key == product(ones.copy()).key
