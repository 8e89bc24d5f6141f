"""Whole blocks and punched kernels: the best choice within the budget, by exhaustive search."""

from itertools import product

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.schemes.examples import best_of, weights
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.budgets import Budget, keep_within_budget
from spokeshave.schemes.ranking import density
from spokeshave.schemes.whole_blocks import BlockPunched, Blocks


def best(units: list[Tensor], wanted: float) -> float:
    """The most that units (their weights) can be worth together, of those that meet the budget or come nearest."""
    return best_of([(unit.numel(), unit.square().sum().item()) for unit in units], wanted)


@given(
    weights((5, 7)), st.sampled_from([0, 0.3, 0.5, 0.9]), st.sampled_from([(2, 3), (2, 2), (5, 2), (3, 7)])
)
@settings(max_examples=60, deadline=None)
def test_blocks_are_the_nearest_point(weight, sparsity, block) -> None:
    units = [tile for strip in weight.split(block[0]) for tile in strip.split(block[1], dim=1)]
    scheme = Blocks(sparsity, block)
    assume(scheme.supports((5, 7)) is None)
    kept = scheme.project(weight).square().sum().item()
    assert kept == best(units, weight.numel() * (1 - sparsity))


@given(weights((3, 3, 1, 3)), st.sampled_from([0.3, 0.5, 0.9]), st.sampled_from([(2, 2), (3, 2), (2, 3)]))
@settings(max_examples=60, deadline=None)
def test_punched_positions_are_the_nearest_point(weight, sparsity, block) -> None:
    units = [
        tile[..., position]
        for strip in weight.split(block[0])
        for tile in strip.split(block[1], dim=1)
        for position in range(3)
    ]
    scheme = BlockPunched(sparsity, block)
    assume(scheme.supports((3, 3, 1, 3)) is None)
    kept = scheme.project(weight).square().sum().item()
    assert kept == best(units, weight.numel() * (1 - sparsity))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([2, 3, 5])), min_size=1, max_size=9),
    st.integers(0, 30),
)
@settings(max_examples=200, deadline=None)
def test_the_budget_is_spent_in_the_best_way(entries, budget) -> None:
    worth, prices = torch.tensor(entries).T
    kept = keep_within_budget(worth.float(), prices, Budget(0, budget))
    choices = [torch.tensor(choice) for choice in product((False, True), repeat=len(entries))]
    allowed = [int(worth[choice].sum()) for choice in choices if int(prices[choice].sum()) <= budget]
    assert int(prices[kept].sum()) <= budget
    assert int(worth[kept].sum()) == max(allowed)


def test_all_kernels_of_a_block_keep_the_same_positions() -> None:
    weight = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    kept = BlockPunched(0.6, (4, 3)).project(weight) != 0
    for block in [kept[:4, :3], kept[:4, 3:], kept[4:, :3], kept[4:, 3:]]:
        positions = block.flatten(0, 1)
        assert (positions == positions[0]).all()
        assert 0 < positions[0].sum() < 9


def test_punching_a_pointwise_convolution_is_dropping_blocks() -> None:
    weight = torch.randn(8, 6, 1, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(BlockPunched(0.5, (2, 3)).project(weight), Blocks(0.5, (2, 3)).project(weight))


@pytest.mark.parametrize("scheme", [Blocks(0.9, (16, 16)), Blocks(0.9, (5, 33)), BlockPunched(0.9, (8, 4))])
def test_the_sparsity_is_met(scheme) -> None:
    weight = torch.randn(130, 70, 3, 3, generator=torch.Generator().manual_seed(0))
    assert 0.099 <= density(scheme.project(weight)) <= 0.1


def test_saliency_decides() -> None:
    weight = torch.tensor([[9.0, 1.0], [9.0, 1.0]])
    saliency = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert torch.equal(Blocks(0.5, (2, 1)).project(weight, saliency), weight * torch.tensor([0.0, 1.0]))


def test_a_dense_block_for_each_block_in_use() -> None:
    scheme = BlockPunched(0.75, (2, 2))
    weight = torch.zeros(4, 4, 1, 4)
    weight[:2, 2:, 0, 1] = 1.0
    weight[:2, 2:, 0, 3] = 2.0
    (block,) = scheme.pack(weight).blocks
    assert block.rows.tolist() == [0, 1]
    assert block.columns.tolist() == [9, 11, 13, 15]


def test_what_is_not_supported() -> None:
    assert "only convolutions have kernel positions" in str(BlockPunched(0.5).supports((64, 64)))
    message = "a block of 8 filters x 4 channels is larger than the weight's 8 x 3"
    assert BlockPunched(0.5).supports((8, 3, 3, 3)) == message
    with pytest.raises(SpokeshaveError, match="block_punched: block must be two positive whole numbers"):
        BlockPunched(0.5, (0, 4))
    with pytest.raises(SpokeshaveError, match="blocks: sparsity must be a number in"):
        Blocks(1.0)
