"""N:M and density-adaptive segments: the nearest choice, and the size of what is stored."""

from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.examples import weights
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.bits import pack_bits, unpack_bits
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.ranking import density, kept_count
from spokeshave.schemes.unstructured import Unstructured


@given(st.integers(0, 9), st.data())
def test_bits_there_and_back(bits, data) -> None:
    numbers = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=20))
    stream = pack_bits(torch.tensor(numbers), bits)
    assert stream.nbytes == -(-len(numbers) * bits // 8)
    assert unpack_bits(stream, bits, len(numbers)).tolist() == numbers


def segments_of(weight: Tensor, length: int) -> list[Tensor]:
    return [piece for row in weight for piece in row.split(length)]


@given(weights((3, 10)), st.sampled_from([(1, 4), (2, 4), (3, 8), (4, 4)]))
@settings(max_examples=60, deadline=None)
def test_each_segment_keeps_its_largest(weight, pattern) -> None:
    kept, length = pattern
    projected = NOfM(kept, length).project(weight)
    for segment, found in zip(segments_of(weight, length), segments_of(projected, length), strict=True):
        share = kept if len(segment) == length else int(kept * len(segment) / length + 0.5)
        candidates = combinations(segment.square().tolist(), share)
        assert found.square().sum().item() == max(sum(chosen) for chosen in candidates)


def test_segments_of_convolutions_run_along_channels() -> None:
    weight = torch.randn(6, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    assert ((NOfM(2, 4).project(weight) != 0).view(6, 2, 4, 3, 3).sum(2) == 2).all()
    assert ((NOfM(2, 4, along="columns").project(weight) != 0).view(6, 18, 4).sum(2) == 2).all()


@pytest.mark.parametrize(("kept", "length", "place_bytes"), [(2, 4, 8), (1, 4, 4), (4, 8, 24 / 2), (1, 1, 0)])
def test_places_take_no_more_bits_than_they_need(kept, length, place_bytes) -> None:
    scheme = NOfM(kept, length)
    packed = scheme.pack(scheme.project(torch.ones(4, 16)))
    assert packed.nbytes == 4 * 16 * kept // length * 4 + place_bytes


def test_the_bit_layout_is_as_documented() -> None:
    (group,) = NOfM(2, 4).pack(torch.tensor([[0.0, 5.0, 6.0, 0.0, 7.0, 0.0, 0.0, 8.0]])).groups
    assert group.values.tolist() == [[[5.0, 6.0], [7.0, 8.0]]]
    assert group.places.tolist() == [0b11_00_10_01]


def options(row: Tensor) -> list[tuple[int, float]]:
    """Number of segments of a row and what it keeps, for every length."""
    lengths = [1 << power for power in range(4)]
    return [
        (-(-len(row) // length), sum(piece.square().max().item() for piece in row.split(length)))
        for length in lengths
    ]


@given(weights((4, 8)), st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=100, deadline=None)
def test_lengths_are_near_the_best_of_all(weight, sparsity) -> None:
    budget = kept_count(32, sparsity)
    best = max(
        sum(energy for _, energy in choice)
        for choice in product(*map(options, weight))
        if sum(price for price, _ in choice) <= budget
    )
    assert 0.75 * best <= DensityAdaptiveBlocks(sparsity).project(weight).square().sum().item() <= best


def published_lengths(weight: Tensor, sparsity: float) -> Tensor:
    """DARB's rule: the power of two nearest to one over the row's density under unstructured pruning."""
    densities = (Unstructured(sparsity).project(weight) != 0).float().mean(1).clamp(min=1 / 256)
    return torch.exp2((1 / densities).log2().round())


def test_at_least_as_near_as_by_the_published_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    strength = [torch.randn(256, generator=generator).mul(0.5).exp() for _ in range(2)]
    weight = torch.randn(256, 256, generator=generator) * strength[0][:, None] * strength[1]
    rule, slots = 0.0, 0
    for row, length in zip(weight, published_lengths(weight, 0.875).int().tolist(), strict=True):
        pieces = row.split(length)
        rule, slots = rule + sum(piece.square().max().item() for piece in pieces), slots + len(pieces)
    projected = DensityAdaptiveBlocks(1 - slots / weight.numel()).project(weight)
    assert projected.square().sum() >= rule
    one_length = NOfM(1, 8, along="columns").project(weight)
    assert projected.square().sum() > 1.1 * one_length.square().sum() * (slots / 8192)


@pytest.mark.parametrize("shape", [(100, 300), (64, 16, 3, 3)])
@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.95])
def test_the_sparsity_is_met(shape, sparsity) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    realised = density(DensityAdaptiveBlocks(sparsity).project(weight))
    assert 0.99 * (1 - sparsity) <= realised <= 1 - sparsity + 1e-9


def test_strong_rows_get_short_segments() -> None:
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    weight[:2] *= 20
    scheme = DensityAdaptiveBlocks(0.75)
    lengths = {
        int(row): group.length for group in scheme.pack(scheme.project(weight)).groups for row in group.rows
    }
    assert max(lengths[0], lengths[1]) < min(lengths[row] for row in range(2, 8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NOfM(5, 4), "n_of_m: kept 5 must not be above length 4"),
        (lambda: NOfM(0, 4), "n_of_m: kept must be a whole number from 1 up, not 0"),
        (lambda: NOfM(along="rows"), "n_of_m: along must be 'channels' or 'columns', not 'rows'"),
        (lambda: DensityAdaptiveBlocks(0.5, longest=12), "longest must be a power of two, not 12"),
    ],
)
def test_settings_that_make_no_sense(make, message) -> None:
    with pytest.raises(SpokeshaveError, match=message):
        make()


def test_what_is_not_supported_says_what_is() -> None:
    reason = "segments of 4 are longer than the 3 channels of the weight; length can be 3 at most"
    assert NOfM(2, 4).supports((8, 3, 3, 3)) == reason
    reason = DensityAdaptiveBlocks(0.95, longest=8).supports((4, 16))
    assert reason == "segments of 8 keep 8 of 64 weights, so the sparsity can be 0.875 at most, not 0.95"
