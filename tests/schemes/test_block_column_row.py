"""Block column-row sparsity: in the set, within the budget, and as near as exhaustive search finds."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.schemes.examples import best_of
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.ranking import density, support
from spokeshave.schemes.scheme import Scheme, as_matrix

SHAPES = [(1, 1), (1, 9), (7, 1), (4, 4), (5, 7), (9, 10), (6, 2, 3, 3), (3, 5, 2)]


@st.composite
def cases(draw, most_rows: float = 0.9, budgets=("layer", "block")) -> tuple[BlockColumnRow, Tensor]:
    """A scheme and a weight of small integers, so that ties and zeros are common."""
    shape = draw(st.sampled_from(SHAPES))
    rows, columns = shape[0], torch.Size(shape[1:]).numel()
    numbers = draw(st.lists(st.integers(-4, 4), min_size=rows * columns, max_size=rows * columns))
    sparsity = draw(st.sampled_from([0, 0.25, 0.5, 0.7, 0.9]))
    scheme = BlockColumnRow(
        sparsity,
        (draw(st.integers(1, rows)), draw(st.integers(1, columns))),
        min(sparsity, most_rows, draw(st.sampled_from([0, 0.25, 0.5]))),
        draw(st.sampled_from(budgets)),
    )
    assume(scheme.supports(shape) is None)
    return scheme, torch.tensor(numbers, dtype=torch.float32).reshape(shape)


@given(cases())
@settings(max_examples=300, deadline=None)
def test_projection_is_idempotent_and_in_the_set(case) -> None:
    scheme, weight = case
    projected = scheme.project(weight)
    assert scheme.contains(projected)
    assert torch.equal(scheme.project(projected), projected)
    kept = support(projected)
    assert torch.equal(projected[kept], weight[kept])
    column = min(scheme.block[0], weight.shape[0])
    assert int(kept.sum()) <= weight.numel() * (1 - scheme.sparsity) + column / 2 + 1e-6


@given(cases())
@settings(max_examples=200, deadline=None)
def test_pack_and_unpack(case) -> None:
    scheme, weight = case
    projected = scheme.project(weight)
    packed = scheme.pack(projected)
    assert torch.equal(packed.unpack(), projected)
    assert len(packed.blocks) == sum(
        bool(support(block).any()) for block in blocks_of(projected, scheme.block)
    )
    for block in packed.blocks:
        rows, columns = block.rows.long(), block.columns.long()
        assert torch.equal(as_matrix(projected)[rows][:, columns], block.values)
        assert int(rows.max() // scheme.block[0]) == int(rows.min() // scheme.block[0])
        assert int(columns.max() // scheme.block[1]) == int(columns.min() // scheme.block[1])


@given(cases(most_rows=0, budgets=["layer"]))
@settings(max_examples=150, deadline=None)
def test_columns_only_is_the_nearest_point(case) -> None:
    """Every choice of column segments within the budget is tried."""
    scheme, weight = case
    matrix = as_matrix(weight)
    strips = matrix.split(scheme.block[0])
    segments = [(len(strip), energy) for strip in strips for energy in strip.square().sum(0).tolist()]
    assert scheme.project(weight).square().sum().item() == best_of(
        segments, matrix.numel() * (1 - scheme.sparsity)
    )


@given(cases(most_rows=0, budgets=["block"]))
@settings(max_examples=150, deadline=None)
def test_balanced_columns_are_the_largest_of_each_block(case) -> None:
    scheme, weight = case
    found = blocks_of(scheme.project(weight), scheme.block)
    for block, kept in zip(blocks_of(weight, scheme.block), found, strict=True):
        energies = sorted(block.square().sum(0).tolist(), reverse=True)
        count = int(support(kept).any(0).sum())
        assert kept.square().sum().item() == sum(energies[:count])
        assert count >= min(int(block.shape[1] * (1 - scheme.sparsity)) - 1, sum(map(bool, energies)))


@given(cases())
@settings(max_examples=150, deadline=None)
def test_never_nearer_than_any_as_many_weights(case) -> None:
    scheme, weight = case
    projected = scheme.project(weight)
    largest = weight.square().flatten().sort(descending=True).values[: int(support(projected).sum())]
    assert projected.square().sum() <= largest.sum()


@given(cases(budgets=["block"]))
@settings(max_examples=150, deadline=None)
def test_no_other_rows_of_a_block_are_nearer(case) -> None:
    """With rows the joint optimum is hard; given the columns found, the rows are the best."""
    scheme, weight = case
    projected = as_matrix(scheme.project(weight))
    matrix = as_matrix(weight)
    for block, found in zip(blocks_of(matrix, scheme.block), blocks_of(projected, scheme.block), strict=True):
        columns = support(found).any(0)
        rows = sorted(block[:, columns].square().sum(1).tolist(), reverse=True)
        kept_rows = len(block) - int(len(block) * scheme.row_sparsity + 1e-6)
        assert found.square().sum().item() == sum(rows[:kept_rows])


@given(cases(budgets=["layer"]))
@settings(max_examples=150, deadline=None)
def test_rows_of_all_blocks_share_one_budget(case) -> None:
    """Used rows, and used rows times used columns, summed over blocks by plain slicing."""
    scheme, weight = case
    blocks = [support(block) for block in blocks_of(scheme.project(weight), scheme.block)]
    may_keep = sum(len(block) - int(len(block) * scheme.row_sparsity + 1e-6) for block in blocks)
    assert sum(int(block.any(1).sum()) for block in blocks) <= may_keep
    spent = sum(int(block.any(1).sum() * block.any(0).sum()) for block in blocks)
    assert spent <= weight.numel() * (1 - scheme.sparsity) + min(scheme.block[0], len(weight)) / 2 + 1e-6


@given(cases(budgets=["layer"]), st.integers(0, 2**16))
@settings(max_examples=150, deadline=None)
def test_fewer_weights_stay_in_the_set(case, seed) -> None:
    """Quantizers and training set weights of a member to zero."""
    scheme, weight = case
    generator = torch.Generator().manual_seed(seed)
    assert scheme.contains(scheme.project(weight) * torch.randint(0, 2, weight.shape, generator=generator))


def test_strong_blocks_keep_more_rows() -> None:
    """Five strong rows above, one below: six of twelve rows, and three of six in each block where all keep as many."""
    strength = torch.tensor([1.0, 1, 1, 1, 1, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 1])[:, None]
    weight = torch.randn(12, 20, generator=torch.Generator().manual_seed(0)) * strength
    kept = [
        support(BlockColumnRow(0.5, (6, 20), 0.5, budget).project(weight)) for budget in ("layer", "block")
    ]
    rows = [[int(part.any(1).sum()) for part in each.split(6)] for each in kept]
    assert rows == [[5, 1], [3, 3]]
    assert [density(each) for each in kept] == [0.5, 0.5]


@pytest.mark.parametrize("row_sparsity", [0, 0.25, 0.4])
@pytest.mark.parametrize("budget", ["layer", "block"])
@pytest.mark.parametrize("shape", [(128, 1152), (96, 128, 3, 3), (130, 1000)])
def test_the_sparsity_is_met(shape, budget, row_sparsity) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * torch.linspace(
        0.1, 2, shape[0]
    ).view(-1, *[1] * (len(shape) - 1))
    for block in [(8, 64), (16, 48), (5, 33)]:
        projected = BlockColumnRow(0.9, block, row_sparsity, budget).project(weight)
        assert 0.099 <= density(projected) <= 0.1


def test_balanced_blocks_keep_as_much_as_each_other() -> None:
    weight = (
        torch.randn(64, 640, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 2, 64)[:, None]
    )
    packed = BlockColumnRow(0.9, (8, 64), 0.25, "block").pack(
        BlockColumnRow(0.9, (8, 64), 0.25, "block").project(weight)
    )
    assert len(packed.blocks) == 80
    assert {len(block.rows) for block in packed.blocks} == {6}
    counts = {len(block.columns) for block in packed.blocks}
    assert max(counts) - min(counts) <= 1


def test_rows_save_more_than_columns_alone() -> None:
    """Rows of different strength are what the row step is for."""
    strength = torch.tensor([1.0, 0.1]).repeat(32)[:, None]
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) * strength
    errors = [(BlockColumnRow(0.8, (8, 32), rate).project(weight) - weight).norm() for rate in (0, 0.5)]
    assert errors[1] < errors[0]


def test_saliency_replaces_the_squared_weight() -> None:
    weight = torch.tensor([[5.0, 1.0], [5.0, 1.0]])
    projected = BlockColumnRow(0.5, (2, 2)).project(weight, saliency=torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert torch.equal(projected, torch.tensor([[0.0, 1.0], [0.0, 1.0]]))


def test_zero_weights() -> None:
    for budget in ("layer", "block"):
        scheme = BlockColumnRow(0.9, (8, 16), 0.5, budget)
        zero = torch.zeros(20, 50)
        assert torch.equal(scheme.project(zero), zero)
        assert scheme.pack(zero).blocks == ()
        assert torch.equal(scheme.pack(zero).unpack(), zero)


def test_members_may_not_keep_one_weight_more() -> None:
    scheme = BlockColumnRow(0.5, (2, 4), 0.5)
    weight = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]])
    assert scheme.contains(weight)
    assert not scheme.contains(weight + torch.tensor([[0.0], [1.0]]) * torch.tensor([[1.0, 0, 0, 0]]))
    assert not BlockColumnRow(0.5, (2, 2)).contains(torch.tensor([[1.0, 1, 1, 0], [0, 0, 0, 0]]))
    assert BlockColumnRow(0.5, (2, 2)).contains(torch.tensor([[1.0, 1, 0, 0], [0, 1, 0, 0]]))


def test_lists_become_tuples() -> None:
    assert BlockColumnRow(0.5, [4, 16]) == BlockColumnRow(0.5, (4, 16))
    assert isinstance(BlockColumnRow(0.5), Scheme)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must be a number in \[0, 1\), not 1.0"),
        ({"row_sparsity": -1}, "row_sparsity must be a number"),
        ({"row_sparsity": 0.8}, "row_sparsity 0.8 must not be above sparsity 0.5"),
        ({"block": (0, 4)}, r"block must be two positive whole numbers, not \(0, 4\)"),
        ({"block": (4,)}, "block must be"),
        ({"block": (4.0, 4)}, "block must be"),
        ({"block": 4}, "block must be"),
        ({"budget": "network"}, "budget must be 'layer' or 'block', not 'network'"),
    ],
)
def test_settings_that_make_no_sense(arguments, message) -> None:
    with pytest.raises(SpokeshaveError, match=f"block_column_row: {message}"):
        BlockColumnRow(**{"sparsity": 0.5} | arguments)


@pytest.mark.parametrize("shape", [(4, 100), (16, 7, 3, 3)])
def test_a_block_larger_than_the_matrix(shape) -> None:
    scheme = BlockColumnRow(0.5, (8, 64))
    message = (
        f"a block of 8 x 64 is larger than the weight's matrix, {shape[0]} x {torch.Size(shape[1:]).numel()}, "
        "which is the largest that would do"
    )
    assert scheme.supports(shape) == message
    assert not scheme.contains(torch.zeros(shape))
    for act in (scheme.project, scheme.pack):
        with pytest.raises(SpokeshaveError, match=message):
            act(torch.zeros(shape))


def test_only_members_are_packed() -> None:
    with pytest.raises(SpokeshaveError, match=r"shape \(8, 8\) does not lie in BlockColumnRow\(sparsity=0.5"):
        BlockColumnRow(0.5, (4, 4)).pack(torch.ones(8, 8))


def blocks_of(weight: Tensor, block: tuple[int, int]) -> Iterator[Tensor]:
    """The blocks of a weight's matrix, cut by plain slicing."""
    matrix = as_matrix(weight)
    for top in range(0, matrix.shape[0], block[0]):
        for left in range(0, matrix.shape[1], block[1]):
            yield matrix[top : top + block[0], left : left + block[1]]


@given(cases(), st.sampled_from([1, 2, 4]))
@settings(max_examples=100, deadline=None)
def test_column_groups_are_kept_whole(case, size) -> None:
    """The scheme with groups is the scheme without on the weight whose groups are summed."""
    scheme, weight = case
    grouped = (
        weight.unsqueeze(2).expand(*weight.shape[:2], size, *weight.shape[2:]).flatten(1, 2).contiguous()
    )
    whole = BlockColumnRow(
        scheme.sparsity, (scheme.block[0], scheme.block[1] * size), scheme.row_sparsity, scheme.budget, size
    )
    projected = whole.project(grouped)
    assert whole.contains(projected)
    assert torch.equal(whole.pack(projected).unpack(), projected)
    one = projected.view(*weight.shape[:2], size, *weight.shape[2:])
    assert all(torch.equal(one[:, :, 0], one[:, :, index]) for index in range(size))
    assert torch.equal(one[:, :, 0], scheme.project(weight))


def test_column_groups_must_fit() -> None:
    with pytest.raises(SpokeshaveError, match="column_group 4 does not divide 66 columns"):
        BlockColumnRow(0.9, (8, 66), column_group=4)
    assert "no whole groups of 4" in BlockColumnRow(0.5, (1, 4), column_group=4).supports((8, 6, 3, 3))
