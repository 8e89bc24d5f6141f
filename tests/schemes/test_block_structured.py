"""BSP: rows of the matrix and columns of blocks."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.examples import weights

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.ranking import density


@given(weights((6, 6)), st.sampled_from([0.3, 0.5, 0.8]))
@settings(max_examples=60, deadline=None)
def test_columns_alone_are_those_of_balanced_blocks(weight, sparsity) -> None:
    expected = BlockColumnRow(sparsity, (2, 3), budget="block").project(weight)
    assert torch.equal(BlockStructured(sparsity, (2, 3)).project(weight), expected)


@given(weights((6, 5)), st.sampled_from([0.2, 0.5]))
@settings(max_examples=60, deadline=None)
def test_no_other_rows_are_nearer_given_the_columns(weight, row_sparsity) -> None:
    scheme = BlockStructured(0.5, (3, 5), row_sparsity)
    projected = scheme.project(weight)
    columns = torch.stack([half.any(0).expand(3, 5) for half in (projected != 0).split(3)]).view(6, 5)
    by_row = (weight * columns).square().sum(1)
    best = max(by_row[list(rows)].sum() for rows in combinations(range(6), 6 - int(6 * row_sparsity)))
    assert projected.square().sum() == best


def test_whole_rows_go() -> None:
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    projected = BlockStructured(0.6, (4, 10), 0.25).project(weight)
    assert int((projected != 0).any(1).sum()) == 15
    assert not BlockStructured(0.6, (4, 10), 0.3).contains(projected)


@pytest.mark.parametrize("shape", [(300, 100), (130, 1000), (96, 64, 3, 3)])
@pytest.mark.parametrize("row_sparsity", [0, 0.25, 0.5])
def test_the_sparsity_is_met(shape, row_sparsity) -> None:
    strength = torch.linspace(0.1, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * strength
    realised = density(BlockStructured(0.9, (32, 16), row_sparsity).project(weight))
    assert 0.099 <= realised <= 0.101


def test_rates_that_make_no_sense() -> None:
    with pytest.raises(
        SpokeshaveError, match=r"block_structured: row_sparsity 0.6 must not be above sparsity"
    ):
        BlockStructured(0.5, row_sparsity=0.6)
