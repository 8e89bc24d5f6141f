"""Budgets are met to 1 %, or as near as a scheme's units come, on any shape; never by keeping nothing."""

from itertools import product
from math import prod

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.budgets import Budget, budget_of, is_within_budget, kinds_of
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.ranking import density
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.segments import cut
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import BlockPunched, Blocks


def weight_of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Rows of different strength."""
    generator = torch.Generator().manual_seed(seed)
    strength = torch.randn(shape[0], *[1] * (len(shape) - 1), generator=generator).exp()
    return torch.randn(shape, generator=generator) * strength


@st.composite
def cases(draw) -> tuple[Scheme, tuple[int, ...], float, int]:
    """A scheme, a shape, the wanted density, and the grain: the weights of the largest unit that goes as one."""
    rows, columns = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    shape = (rows, columns, *draw(st.sampled_from([(), (1, 1), (3, 3), (3,)])))
    wanted = draw(st.sampled_from([0.9, 0.5, 0.25, 0.1, 0.05]))
    block = draw(st.integers(1, 40)), draw(st.integers(1, 70))
    row_sparsity = draw(st.sampled_from([0, 0, 0.25, 0.5]))
    sparsity, rates = 1 - wanted, min(row_sparsity, 1 - wanted)
    column, positions = block[0], prod(shape[2:])
    choices: list[tuple[Scheme, int]] = [
        (Unstructured(sparsity), 1),
        (BlockColumnRow(sparsity, block, rates), column),
        (BlockColumnRow(sparsity, block, rates, "block"), column),
        (BlockStructured(sparsity, block, rates), column),
        (Blocks(sparsity, block), block[0] * block[1]),
        (BlockPunched(sparsity, block), block[0] * block[1]),
        (Patterns(max(0, 1 - wanted * 9 / 4), filters_sharing=block[0]), 4 * column),
        (
            CompressedBlocks(sparsity, block),
            2 * max(block),
        ),  # never more than wanted, so off by one unit at most
    ]
    scheme, grain = draw(st.sampled_from(choices))
    if isinstance(scheme, Patterns):
        wanted = 4 / 9 * (1 - scheme.kernel_sparsity)
    assume(not isinstance(scheme, BlockPunched) or positions > 1)
    return scheme, shape, wanted, grain


@given(cases(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_budgets_are_met_as_the_grain_allows(case, by_random_saliency) -> None:
    """|realised - wanted| <= max(1 % of wanted, half the grain), and something is kept; else a sentence says why."""
    scheme, shape, wanted, grain = case
    weight = weight_of(shape)
    if reason := scheme.supports(shape):
        assert "larger than" in reason or "only conv" in reason or "for this shape it can be" in reason
        return
    saliency = torch.rand(shape, generator=torch.Generator().manual_seed(1)) if by_random_saliency else None
    projected = scheme.project(weight, saliency)
    total = weight.numel()
    kept = int((projected != 0).sum())
    assert kept > 0
    assert abs(kept - wanted * total) <= max(0.01 * wanted * total, grain / 2) + 1e-3
    assert scheme.contains(projected)
    assert torch.equal(scheme.pack(projected).unpack(), projected)


@given(st.integers(1, 24), st.integers(1, 90), st.sampled_from([0.9, 0.6, 0.25, 0.1]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_segments_add_up_as_nearly_as_they_can(rows, columns, wanted, by_random_saliency) -> None:
    """Against every sum of so many rows: one that is at most 1 % below what is wanted, else the nearest there is."""
    scheme, shape = DensityAdaptiveBlocks(1 - wanted, longest=32), (rows, columns)
    if scheme.supports(shape):
        return
    saliency = torch.rand(shape, generator=torch.Generator().manual_seed(1)) if by_random_saliency else None
    projected = scheme.project(weight_of(shape), saliency)
    sums = {0}
    for _ in range(rows):
        sums = {one + -(-columns // length) for one in sums for length in (1, 2, 4, 8, 16, 32)}
    met = {
        one for one in sums if 0.99 * wanted * rows * columns - 1e-6 <= one <= wanted * rows * columns + 1e-6
    }
    nearest = min(sums, key=lambda one: (round(abs(one - wanted * rows * columns), 6), one))
    assert int((projected != 0).sum()) in (met or {nearest})
    assert scheme.contains(projected)


@pytest.mark.parametrize(
    ("wanted", "rows"), [(7, [[9.0, 1, 1, 1], [8, 8, 8, 8]]), (3, [[4.0, 3, 1, 1], [4, 1, 1, 3]])]
)
def test_rows_that_add_up_exactly_keep_most(wanted, rows) -> None:
    """No other lengths that keep as many weights keep more of their squares."""
    weight, prices = torch.tensor(rows), {1: 4, 2: 2, 4: 1}
    projected = DensityAdaptiveBlocks(1 - wanted / 8).project(weight)
    kept = [
        sum(
            float(cut(row[None], length).square().amax(2).sum())
            for row, length in zip(weight, both, strict=True)
        )
        for both in product(prices, repeat=2)
        if sum(prices[length] for length in both) == int((projected != 0).sum())
    ]
    assert float(projected.square().sum()) == max(kept)


@pytest.mark.parametrize("shape", [(97, 131), (150, 77), (64, 64, 3, 3), (61, 47, 1, 1), (512, 128)])
@pytest.mark.parametrize("wanted", [0.5, 0.25, 0.1, 0.05])
@pytest.mark.parametrize(
    "scheme",
    [CompressedBlocks, DensityAdaptiveBlocks, BlockStructured, BlockColumnRow, Unstructured],
)
def test_budgets_are_met_to_one_percent_where_units_are_small(shape, wanted, scheme) -> None:
    settings_ = {} if scheme in (Unstructured, DensityAdaptiveBlocks) else {"block": (8, 32)}
    realised = density(scheme(1 - wanted, **settings_).project(weight_of(shape)))
    assert realised == pytest.approx(wanted, rel=0.01)


@pytest.mark.parametrize(
    ("kept", "length", "columns"), [(2, 4, 10), (4, 8, 13), (1, 8, 12), (1, 8, 9), (2, 4, 5)]
)
def test_segments_that_are_cut_short_keep_their_share(kept, length, columns) -> None:
    projected = NOfM(kept, length).project(torch.ones(3, columns))
    assert abs(int((projected != 0).sum(1)[0]) - kept * columns / length) <= 0.5


@pytest.mark.parametrize(
    ("scheme", "shape", "most"),
    [
        (Unstructured(0.99999), (128, 128), "weight; for this shape it can be 0.9999389648 at most"),
        (Blocks(0.9, (64, 64)), (128, 128), "block of 64 x 64; for this shape it can be 0.75 at most"),
        (Blocks(0.5, (16, 144)), (16, 16, 3, 3), "block of 16 x 144; for this shape it can be 0 at most"),
        (
            BlockPunched(0.99, (16, 16)),
            (16, 16, 3, 3),
            "block of 16 x 16; for this shape it can be 0.8888888889",
        ),
        (
            BlockColumnRow(0.999, (64, 64)),
            (128, 128),
            "column of a block; for this shape it can be 0.99609375",
        ),
        (BlockColumnRow(0.999, (64, 64), budget="block"), (128, 128), "column of a block; for this shape"),
        (
            BlockStructured(0.999),
            (128, 128),
            "column of a block; for this shape it can be 0.99609375 at most",
        ),
        (BlockStructured(0.999, row_sparsity=0.5), (128, 128), "column of a block; for this shape"),
        (CompressedBlocks(0.9999, (8, 8)), (16, 16), "weight; for this shape it can be 0.99609375 at most"),
        (Patterns(0.999), (16, 16, 3, 3), "kernel; for this shape it can be 0.99609375 at most"),
    ],
    ids=str,
)
def test_a_budget_that_keeps_nothing_is_refused_with_the_nearest(scheme, shape, most) -> None:
    assert most in str(scheme.supports(shape))
    with pytest.raises(SpokeshaveError, match="leaves no"):
        scheme.project(torch.ones(shape))
    assert not scheme.contains(torch.zeros(shape))


@given(
    st.lists(st.sampled_from([2, 3, 7, 12]), min_size=1, max_size=8),
    st.floats(0, 60),
)
@settings(max_examples=200, deadline=None)
def test_budgets_against_every_choice(prices, wanted) -> None:
    units = torch.tensor(prices)
    budget = budget_of(kinds_of(units), wanted)
    choices = [torch.tensor(choice) for choice in product((False, True), repeat=len(prices))]
    totals = {int(units[choice].sum()) for choice in choices}
    near = [total for total in totals if 0.99 * wanted - 1e-6 <= total <= wanted + 1e-6]
    distance = min(abs(total - wanted) for total in totals)
    allowed = near or [total for total in totals if abs(total - wanted) <= distance + 1e-6]
    assert {total for total in totals if budget.least <= total <= budget.most} <= set(allowed)
    inside = [choice for choice in choices if budget.least <= int(units[choice].sum()) <= budget.most]
    for used in choices:
        extended = any(bool((choice | ~used).all()) for choice in inside)
        assert is_within_budget(used.long(), units, budget) == (extended or not used.any())


def test_a_budget_from_below_before_one_from_above() -> None:
    assert budget_of(((100, 9),), 501) == Budget(496, 500)
    assert budget_of(((100, 9), (3, 1)), 552) == Budget(600, 600)
