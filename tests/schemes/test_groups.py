"""A scheme's projection removes whole groups, or what the groups of one kind leave of them."""

import pytest
import torch

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.crossbar_pruned import CrossbarPruned
from spokeshave.schemes.groups import groups_of
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.quantizers import FixedPoint
from spokeshave.schemes.stacked import Stacked
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import BlockPunched, Blocks

EXACT = [
    (BlockColumnRow(0.6, (4, 6)), (10, 20)),
    (BlockColumnRow(0.6, (4, 12), column_group=4), (8, 8, 3, 3)),
    (BlockColumnRow(0.6, (4, 6), row_sparsity=0.25), (10, 20)),
    (BlockStructured(0.6, (4, 6)), (10, 20)),
    (BlockStructured(0.6, (4, 6), row_sparsity=0.25), (10, 20)),
    (CompressedBlocks(0.6, (4, 6)), (10, 20)),
    (Blocks(0.6, (4, 6)), (10, 20)),
    (BlockPunched(0.6, (4, 4)), (10, 6, 3, 3)),
    (CrossbarPruned(0.6, crossbar=6, run=3, order="channel"), (10, 6, 3, 3)),
    (CrossbarPruned(0.6, "filters", crossbar=2), (10, 20)),
    (Unstructured(0.6), (10, 20)),
    (NOfM(2, 4), (8, 16)),
    (Stacked(BlockColumnRow(0.6, (4, 6))), (3, 8, 12)),
]


@pytest.mark.parametrize(("scheme", "shape"), EXACT, ids=str)
def test_what_a_projection_removes_is_a_union_of_groups(scheme, shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    removed = scheme.project(weight) == 0
    covered = torch.zeros_like(removed)
    for numbers in groups_of(scheme, shape):
        assert numbers.shape == shape
        assert numbers.unique().tolist() == list(range(int(numbers.max()) + 1))
        for group in numbers.unique():
            inside = numbers == group
            if bool(removed[inside].all()):
                covered |= inside
    assert torch.equal(covered, removed)


def test_patterns_have_kernels_for_groups():
    numbers = groups_of(Patterns(0.5), (4, 3, 3, 3))[0]
    assert torch.equal(numbers, torch.arange(12).view(4, 3, 1, 1).expand(4, 3, 3, 3))


def test_an_intersection_has_the_groups_of_what_removes():
    scheme = Blocks(0.5, (2, 2)) & FixedPoint(4)
    assert torch.equal(groups_of(scheme, (4, 4))[0], groups_of(Blocks(0.5, (2, 2)), (4, 4))[0])


@pytest.mark.parametrize("scheme", [FixedPoint(4), FixedPoint(4) & FixedPoint(3)], ids=str)
def test_a_quantizer_has_no_groups(scheme):
    with pytest.raises(
        SpokeshaveError,
        match=r"has no groups .*; those of .*BlockColumnRow, .*CrossbarPruned, .*Unstructured.* have",
    ):
        groups_of(scheme, (4, 4))
