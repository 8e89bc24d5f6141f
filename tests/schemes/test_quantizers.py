"""Few levels: exact membership, scales near the best, bytes as promised, and intersections with sparsity."""

from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.examples import weights
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.coded import CodedStructure
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.ranking import density
from spokeshave.schemes.unstructured import Unstructured


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cost(point: Tensor, weight: Tensor) -> float:
    return (point.double() - weight.double()).square().sum().item()


@pytest.mark.parametrize(
    "scheme", [FixedPoint(2), FixedPoint(3), FixedPoint(8), PowerOfTwo(3), PowerOfTwo(4)], ids=str
)
def test_no_scale_of_a_fine_grid_is_much_nearer(scheme) -> None:
    """Every scale of two hundred, for every row alone."""
    weight = normal(6, 400)
    projected = scheme.project(weight)
    for row, found in zip(weight.double(), projected.double(), strict=True):
        scales = torch.linspace(0.05, 1.6, 200, dtype=torch.float64) * row.abs().max() / scheme.table.max()
        points = scales[:, None, None] * scheme.table
        distances = (row[:, None] - points).square().amin(2).sum(1)
        chance = (
            1.3 if scheme == FixedPoint(8) else 1.02
        )  # of many levels, some scale just suits forty weights
        assert cost(found, row) <= chance * distances.min().item()


def test_binary_scales_are_the_mean_sizes() -> None:
    weight = normal(5, 30)
    expected = weight.sign() * weight.abs().mean(1, keepdim=True)
    torch.testing.assert_close(Binary().project(weight), expected)


@given(st.integers(2, 12), st.integers(0, 1000), st.sampled_from(["row", "tensor"]))
@settings(deadline=None, max_examples=60)
def test_multiples_of_any_short_scale_are_members(bits, seed, per) -> None:
    most = 2 ** (bits - 1) - 1
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(-most, most + 1, (3, 7), generator=generator)
    scale = torch.randint(1, 2**12, (3, 1), generator=generator) * 2.0**-20
    weight = levels * (scale if per == "row" else scale[0])
    scheme = FixedPoint(bits, per)
    assert scheme.contains(weight)
    assert torch.equal(scheme.pack(weight).unpack(), weight)


def test_one_value_between_the_levels_is_no_member() -> None:
    weight = torch.tensor([[1.0, 2, 3, 7], [0.5, 1, 1.5, 2]])
    assert FixedPoint(4).contains(weight)
    assert not FixedPoint(3).contains(weight)
    assert not FixedPoint(4).contains(weight + torch.tensor([[0, 0, 0, 1e-6], [0, 0, 0, 0]]))
    assert not FixedPoint(4).contains(torch.tensor([[1.0, 1e-30]]))
    assert PowerOfTwo(3).contains(torch.tensor([[3.0, -1.5, 0.75, 0]]))
    assert not PowerOfTwo(3).contains(torch.tensor([[3.0, -1.5, 0.375, 0]]))
    assert not PowerOfTwo(3).contains(torch.tensor([[3.0, 1.0]]))
    assert not Binary().contains(torch.tensor([[1.0, -1, 0]]))


@given(weights((2, 4)), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=60)
def test_codebooks_are_the_best_spans(weight, bits) -> None:
    """Sorted values make clusters spans: every choice of span borders and of the span that is 0 is tried."""
    values = weight.flatten().sort().values.double()
    count = 1 << bits
    best = float("inf")
    for borders in combinations(range(9), count - 1):
        spans = torch.tensor_split(values, list(borders))
        means = [span.mean() if len(span) else values.new_zeros(()) for span in spans]
        for zero in range(count):
            points = [0 * mean if index == zero else mean for index, mean in enumerate(means)]
            best = min(best, sum(((s - p) ** 2).sum().item() for s, p in zip(spans, points, strict=True)))
    assert cost(Codebook(bits).project(weight), weight) == pytest.approx(best, abs=1e-4)


def test_codebooks_beat_even_levels() -> None:
    weight = normal(40, 50)
    even = cost(FixedPoint(4, per="tensor").project(weight), weight)
    shared = Codebook(4).project(weight)
    assert cost(shared, weight) < even
    assert len(shared.unique()) <= 16


@pytest.mark.parametrize(
    ("scheme", "bits", "overhead"),
    [
        (FixedPoint(8), 8, 10 * 4), (FixedPoint(4), 4, 10 * 4), (FixedPoint(8, per="tensor"), 8, 4),
        (PowerOfTwo(4), 4, 10 * 4), (Binary(), 1, 10 * 4),
    ],
    ids=str,
)  # fmt: skip
def test_bytes_are_those_of_the_bits(scheme, bits, overhead) -> None:
    weight = scheme.project(normal(10, 64))
    assert scheme.pack(weight).nbytes == 640 * bits // 8 + overhead


def test_codebooks_are_stored_once() -> None:
    weight = Codebook(4).project(normal(10, 64))
    assert 9 <= len(weight.unique()) <= 16
    assert Codebook(4).pack(weight).nbytes == 640 * 4 // 8 + 4 * (len(weight.unique()) + 1)


def test_more_bits_and_scales_a_row_are_nearer() -> None:
    weight = normal(20, 40) * torch.linspace(0.1, 2, 20)[:, None]
    errors = [cost(FixedPoint(bits).project(weight), weight) for bits in (2, 3, 4, 6, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < cost(FixedPoint(4, per="tensor").project(weight), weight)


def test_saliency_draws_the_scale() -> None:
    """With two levels the scale follows the weights that matter."""
    weight = torch.tensor([[1.0, 1.0, 1.0, 4.0]])
    saliency = torch.tensor([[0.0, 0.0, 0.0, 16.0]])
    assert Binary().project(weight).abs().max() < 2
    torch.testing.assert_close(Binary().project(weight, saliency).abs(), torch.full((1, 4), 4.0))


def test_rows_of_two_formats_are_given_out_in_the_best_way() -> None:
    weight = normal(6, 12)
    scheme = MixedRows(FixedPoint(3), PowerOfTwo(3), share=1 / 3)
    points = [FixedPoint(3).project(weight), PowerOfTwo(3).project(weight)]
    best = min(
        sum(cost(points[choice][row], weight[row]) for row, choice in enumerate(chosen))
        for chosen in product((0, 1), repeat=6)
        if sum(chosen) == 2
    )
    assert cost(scheme.project(weight), weight) == pytest.approx(best)


def test_every_part_has_the_same_mix() -> None:
    weight = normal(12, 20) * torch.linspace(1, 3, 12)[:, None]
    scheme = MixedRows(FixedPoint(8), PowerOfTwo(2), share=0.5, parts=3)
    projected = scheme.project(weight)
    coarse = torch.tensor([len(row.abs().unique()) <= 2 for row in projected])
    assert coarse.view(3, 4).sum(1).tolist() == [2, 2, 2]
    assert not scheme.contains(FixedPoint(8).project(weight))
    packed = scheme.pack(projected)
    assert packed.nbytes == 2 + 6 * 20 + 6 * 20 // 4 + 12 * 4
    assert torch.equal(packed.unpack(), projected)


@pytest.mark.parametrize(
    ("sparse", "levels", "shape"),
    [
        (BlockColumnRow(0.75, (4, 8)), FixedPoint(8), (16, 32)),
        (Patterns(0.5, filters_sharing=4), PowerOfTwo(4), (8, 6, 3, 3)),
        (NOfM(2, 4), Codebook(4), (8, 16)),
        (Unstructured(0.9), FixedPoint(4), (20, 30)),
    ],
    ids=str,
)  # fmt: skip
def test_sparse_and_quantized(sparse, levels, shape) -> None:
    scheme = sparse & levels
    assert isinstance(scheme, Intersection)
    weight = normal(*shape)
    projected = scheme.project(weight)
    assert sparse.contains(projected)
    assert levels.contains(projected)
    assert 0.5 * density(sparse.project(weight)) <= density(projected) <= density(sparse.project(weight))
    packed = scheme.pack(projected)
    assert torch.equal(packed.unpack(), projected)
    assert packed.nbytes <= min(sparse.pack(projected).nbytes, levels.pack(projected).nbytes)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_only_weights_that_are_kept_have_codes_of_few_bits(bits) -> None:
    scheme = BlockColumnRow(0.5, (4, 8)) & FixedPoint(bits)
    projected = scheme.project(normal(16, 64))
    packed = scheme.pack(projected)
    assert isinstance(packed, CodedStructure)
    plain = BlockColumnRow(0.5, (4, 8)).pack(projected)
    kept = sum(block.values.numel() for block in plain.blocks)
    assert packed.nbytes <= plain.nbytes - 4 * kept + -(-kept * bits // 8) + 16 * 4


def test_a_bit_a_weight_where_indices_would_cost_more() -> None:
    scheme = Unstructured(0.8) & Codebook(4)
    projected = scheme.project(normal(64, 512))
    packed, kept = scheme.pack(projected), int((projected != 0).sum())
    assert torch.equal(packed.unpack(), projected)
    assert (
        packed.nbytes <= kept / 2 + 64 * 512 / 8 + 16 * 4 + 4 + 1
    )  # a codebook, a scale, bits that fill up a byte


def test_what_has_no_common_point_says_so() -> None:
    with pytest.raises(SpokeshaveError, match="intersection: binary levels have no 0, so nothing is removed"):
        NOfM(1, 4) & Binary()


def test_intersections_are_flat_and_name_the_part_that_does_not_suit() -> None:
    scheme = NOfM(2, 4) & FixedPoint(8) & Unstructured(0.6)
    assert isinstance(scheme, Intersection)
    assert len(scheme.parts) == 3
    assert scheme.supports((4, 2)) == (
        "segments of 4 are longer than the 2 channels of the weight; length can be 2 at most"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedPoint(1), "fixed_point: bits must be a whole number from 2 to 12, not 1"),
        (lambda: PowerOfTwo(8), "power_of_two: bits must be a whole number from 2 to 5, not 8"),
        (lambda: Codebook(0), "codebook: bits must be a whole number from 1 to 8, not 0"),
        (lambda: FixedPoint(8, per="column"), "fixed_point: per must be 'row' or 'tensor', not 'column'"),
        (lambda: MixedRows(FixedPoint(8), Codebook(2)), "mixed_rows: second must be a quantizer with a scale a row"),
        (lambda: Intersection((FixedPoint(8),)), "intersection: parts must be two schemes or more"),
        (lambda: FixedPoint(12).project(normal(4, 64).bfloat16()), "torch.bfloat16 has too few digits for FixedPoint"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(make, message) -> None:
    with pytest.raises(SpokeshaveError, match=message):
        make()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("size", [1e-41, 1e-30, 1e-7, 1e-5, 1e-3, 1e3])
@pytest.mark.parametrize(
    "scheme",
    [FixedPoint(4), PowerOfTwo(4), FixedPoint(4, "tensor"), MixedRows(FixedPoint(3), PowerOfTwo(2), 0.5)],
    ids=repr,
)
def test_weights_near_the_least_number_of_their_type(scheme, size, dtype):
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(17, 13, generator=generator, dtype=torch.float64) * size).to(dtype)
    point = scheme.project(weight)
    assert scheme.contains(point)
    assert torch.equal(scheme.project(point), point)
    assert torch.equal(scheme.pack(point).unpack(), point)
