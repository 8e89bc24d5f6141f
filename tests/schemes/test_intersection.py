"""What intersections add to their parts: the order of them does not matter, and some are refused."""

from itertools import permutations

import pytest
import torch

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.intersection import Intersection, short_of_budget
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.ranking import density
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks

SHAPE = (19, 11, 3, 3)


def normal() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("parts", "least"),
    [
        ((Unstructured(0.8), Blocks(0.8, (4, 4))), 0.195),
        ((DensityAdaptiveBlocks(0.8), Blocks(0.8, (4, 4))), 0.06),
        ((CompressedBlocks(0.8, (5, 7)), Blocks(0.8, (4, 4))), 0.16),
        ((BlockColumnRow(0.8, (4, 8)), Patterns(0.5)), 0.1),
        ((Unstructured(0.8), FixedPoint(8), Blocks(0.7, (4, 4))), 0.195),
    ],
    ids=str,
)
@pytest.mark.parametrize("signed", [False, True])
def test_every_order_keeps_as_much(parts: tuple[Scheme, ...], least: float, signed: bool) -> None:
    weight = normal()
    saliency = weight if signed and not any(isinstance(part, FixedPoint) for part in parts) else None
    points = [Intersection(order).project(weight, saliency) for order in permutations(parts)]
    for point in points:
        assert Intersection(parts).contains(point)
        assert torch.equal(Intersection(parts).project(point, saliency), point)
        assert torch.equal(point, points[0])
        assert least <= density(point) <= 0.2


@pytest.mark.parametrize(
    ("scheme", "is_short"),
    [
        (DensityAdaptiveBlocks(0.8) & Blocks(0.8, (4, 4)), True),
        (BlockColumnRow(0.8, (4, 8)) & Patterns(0.5), True),
        (Unstructured(0.8) & Blocks(0.5, (4, 4)), False),
        (BlockColumnRow(0.8, (4, 8)) & FixedPoint(8), False),
        (Unstructured(0.8), False),
    ],
    ids=str,
)
def test_what_parts_keep_less_of_together_is_told(scheme: Scheme, is_short: bool) -> None:
    point = scheme.project(normal())
    reason = short_of_budget({"a": scheme, "b": scheme}, {"a": point, "b": point}) or ""
    told = f"a, b: {100 * density(point):.1f} % of the weights are left, of "
    assert reason.startswith(told if is_short else "")
    assert ("lower sparsities keep more" in reason) == is_short


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (Binary(), Unstructured(0.5), "fixed_point with 2 bits has -1 0 1"),
        (FixedPoint(4), PowerOfTwo(4), "take one of them, or mixed_rows"),
        (PowerOfTwo(4), Codebook(4), "per='tensor' or one of them alone"),
        (MixedRows(FixedPoint(4), PowerOfTwo(4)), FixedPoint(4), "share hardly a level"),
        (PowerOfTwo(4), MixedRows(FixedPoint(4), PowerOfTwo(4)), "share hardly a level"),
    ],
    ids=str,
)
def test_levels_that_exclude_each_other_are_refused(first: Scheme, second: Scheme, why: str) -> None:
    for one, other in ((first, second), (second, first)):
        with pytest.raises(SpokeshaveError, match=why):
            Intersection((one, other))


@pytest.mark.parametrize(
    "parts",
    [
        (FixedPoint(8), PowerOfTwo(4)),
        (FixedPoint(8), FixedPoint(4)),
        (FixedPoint(8, "tensor"), Codebook(4)),
        (MixedRows(FixedPoint(8), PowerOfTwo(3)), FixedPoint(8)),
        (Binary(), MixedRows(FixedPoint(4), PowerOfTwo(4))),
    ],
    ids=str,
)
def test_levels_inside_others_are_both(parts: tuple[Scheme, ...]) -> None:
    for order in permutations(parts):
        both = Intersection(order)
        assert both.contains(both.project(normal()))


def test_rows_of_two_formats_are_packed_without_their_zeros() -> None:
    scheme = Unstructured(0.9) & MixedRows(FixedPoint(4), PowerOfTwo(4))
    point = scheme.project(normal())
    packed = scheme.pack(point)
    assert torch.equal(packed.unpack(), point)
    assert packed.nbytes < point.numel() / 8 + 0.1 * point.numel() / 2 + 19 * 4 + 40
