"""CSB: unbalanced blocks under one threshold."""

from itertools import chain, combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.examples import weights

from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.ranking import density
from spokeshave.schemes.unstructured import Unstructured


def subsets(count: int) -> list[tuple[int, ...]]:
    return list(chain.from_iterable(combinations(range(count), size) for size in range(1, count + 1)))


def best(weight: torch.Tensor, budget: int) -> float:
    """The most that two blocks side by side can keep within a budget, over all their rows and columns."""
    by_block = []
    for block in weight.square().split(3, dim=1):
        most = [0.0] * (budget + 1)
        for rows, columns in product(subsets(3), subsets(3)):
            size = len(rows) * len(columns)
            if size <= budget:
                most[size] = max(most[size], block[list(rows)][:, list(columns)].sum().item())
        by_block.append(most)
    return max(
        by_block[0][first] + by_block[1][second]
        for first in range(budget + 1)
        for second in range(budget + 1 - first)
    )


@given(weights((3, 6)), st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=60, deadline=None)
def test_near_the_best_of_all_rows_and_columns(weight, sparsity) -> None:
    kept = CompressedBlocks(sparsity, (3, 3)).project(weight).square().sum().item()
    assert 0.33 * best(weight, int(18 * (1 - sparsity) + 1e-6)) <= kept


def test_on_average_it_is_hardly_worse_than_the_best() -> None:
    shares = []
    for seed in range(30):
        weight = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed))
        kept = CompressedBlocks(0.5, (3, 3)).project(weight).square().sum().item()
        shares.append(kept / best(weight, 9))
    assert sum(shares) / len(shares) > 0.93


@pytest.mark.parametrize("shape", [(256, 192), (130, 300), (64, 32, 3, 3)])
@pytest.mark.parametrize("block", [(8, 32), (32, 32), (64, 48)])
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_the_sparsity_is_met(shape, block, sparsity) -> None:
    strength = torch.linspace(0.1, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * strength
    realised = density(CompressedBlocks(sparsity, block).project(weight))
    assert 0.99 * (1 - sparsity) <= realised <= 1 - sparsity + 1e-9


def test_equal_weights_fill_the_budget() -> None:
    assert density(CompressedBlocks(0.5, (4, 4)).project(torch.ones(8, 8))) == 0.5


def test_strong_blocks_keep_more() -> None:
    weight = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    weight[:, :16] *= 3
    projected = CompressedBlocks(0.5, (16, 16)).project(weight)
    assert density(projected[:, :16]) > 2 * density(projected[:, 16:])


def test_between_unstructured_and_balanced_blocks() -> None:
    """On a matrix whose rows and columns are of different strength, as trained ones are."""
    generator = torch.Generator().manual_seed(0)
    strength = [torch.randn(size, generator=generator).mul(0.5).exp() for size in (256, 256)]
    weight = torch.randn(256, 256, generator=generator) * strength[0][:, None] * strength[1]
    schemes = (
        Unstructured(0.875),
        CompressedBlocks(0.875, (16, 16)),
        BlockColumnRow(0.875, (16, 16), 0.5, "block"),
    )
    kept = [scheme.project(weight).square().sum().item() for scheme in schemes]
    assert kept == sorted(kept, reverse=True)
