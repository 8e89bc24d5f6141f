"""Unstructured sparsity: exactly the largest, exactly as many."""

from itertools import combinations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.ranking import density, kept_count, support
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured

sparsities = st.sampled_from([0, 0.1, 1 / 3, 0.5, 0.9, 0.999])


@st.composite
def cases(draw) -> tuple[Tensor, float]:
    """Small integers, so that ties and zeros are common; matrices and convolutions; and a sparsity that leaves some."""
    shape = draw(st.sampled_from([(1, 1), (1, 9), (7, 1), (3, 4), (5, 7), (2, 3, 3, 3), (4, 2, 3)]))
    size = torch.Size(shape).numel()
    numbers = draw(st.lists(st.integers(-3, 3), min_size=size, max_size=size))
    sparsity = draw(sparsities)
    assume(Unstructured(sparsity).supports(shape) is None)
    return torch.tensor(numbers, dtype=torch.float32).reshape(shape), sparsity


@given(cases())
@settings(deadline=None)
def test_projection_is_idempotent_and_in_the_set(case) -> None:
    weight, sparsity = case
    scheme = Unstructured(sparsity)
    projected = scheme.project(weight)
    assert scheme.contains(projected)
    assert torch.equal(scheme.project(projected), projected)
    kept = support(projected)
    assert torch.equal(projected[kept], weight[kept])


@given(cases())
@settings(deadline=None)
def test_as_many_stay_as_may(case) -> None:
    weight, sparsity = case
    kept = int((Unstructured(sparsity).project(weight, saliency=weight.square() + 1) != 0).sum())
    allowed = kept_count(weight.numel(), sparsity)
    assert kept <= allowed
    if int(support(weight).sum()) == weight.numel():
        assert kept == allowed


@given(cases())
@settings(deadline=None)
def test_nothing_in_the_set_is_nearer(case) -> None:
    weight, sparsity = case
    allowed = kept_count(weight.numel(), sparsity)
    flat = weight.flatten()
    if weight.numel() <= 9:
        best = max(flat[list(kept)].square().sum().item() for kept in combinations(range(len(flat)), allowed))
    else:
        best = flat.square().sort(descending=True).values[:allowed].sum().item()
    assert Unstructured(sparsity).project(weight).square().sum().item() == best


@given(cases())
@settings(deadline=None)
def test_pack_and_unpack(case) -> None:
    weight, sparsity = case
    projected = Unstructured(sparsity).project(weight)
    packed = Unstructured(sparsity).pack(projected)
    assert torch.equal(packed.unpack(), projected)
    assert packed.shape == tuple(weight.shape)


def test_of_equal_weights_the_first_stay() -> None:
    assert torch.equal(Unstructured(0.5).project(torch.ones(2, 3)), torch.tensor([[1.0, 1, 1], [0, 0, 0]]))


def test_saliency_replaces_the_squared_weight() -> None:
    weight = torch.tensor([[5.0, 1.0], [4.0, 2.0]])
    saliency = torch.tensor([[0.0, 9.0], [0.0, 8.0]])
    assert torch.equal(Unstructured(0.5).project(weight, saliency), torch.tensor([[0.0, 1.0], [0.0, 2.0]]))


def test_squares_do_not_underflow() -> None:
    weight = torch.tensor([[1e-30, 3e-30, 2e-30]])
    assert torch.equal(Unstructured(0.6).project(weight), torch.tensor([[0, 3e-30, 0]]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_types_of_weights(dtype) -> None:
    weight = torch.randn(6, 10, generator=torch.Generator().manual_seed(0)).to(dtype)
    projected = Unstructured(0.9).project(weight)
    assert projected.dtype == dtype
    assert density(projected) == pytest.approx(0.1)
    assert torch.equal(Unstructured(0.9).pack(projected).unpack(), projected)


def test_parameters_give_plain_tensors() -> None:
    projected = Unstructured(0.5).project(torch.nn.Parameter(torch.ones(2, 2)))
    assert not projected.requires_grad


def test_it_is_a_scheme() -> None:
    assert isinstance(Unstructured(0.5), Scheme)
    assert Unstructured(0.5).supports((3, 4)) is None
    assert Unstructured(0.5).supports((3,)) == "(3,) is not a matrix"


@pytest.mark.parametrize("sparsity", [1, 1.0, -0.1, float("nan"), "0.5", None, True])
def test_sparsities_that_make_no_sense(sparsity) -> None:
    with pytest.raises(SpokeshaveError, match=r"unstructured: sparsity must be a number in \[0, 1\)"):
        Unstructured(sparsity)


@pytest.mark.parametrize(
    ("weight", "saliency", "message"),
    [
        (torch.ones(3), None, r"two axes or more, not float32 of shape \(3,\)"),
        (torch.ones(2, 2, dtype=torch.long), None, "must be floating-point"),
        (torch.ones(2, 2), torch.ones(2, 3), r"saliency has shape \(2, 3\) but the weight \(2, 2\)"),
        (torch.tensor([[1.0, torch.nan]]), None, "infinite values or NaN"),
        (torch.tensor([[1.0, torch.inf]]), None, "infinite values or NaN"),
    ],
)
def test_weights_that_cannot_be_projected(weight, saliency, message) -> None:
    with pytest.raises(SpokeshaveError, match=message):
        Unstructured(0.5).project(weight, saliency)


def test_only_members_are_packed() -> None:
    message = r"does not lie in Unstructured\(sparsity=0.5\): it has 4 non-zero values where 2 may be"
    with pytest.raises(SpokeshaveError, match=message):
        Unstructured(0.5).pack(torch.ones(2, 2))


@pytest.mark.parametrize("weight", [torch.eye(4).to_sparse(), torch.empty(4, 4, device="meta")])
def test_a_weight_is_dense_and_has_values(weight: Tensor) -> None:
    with pytest.raises(SpokeshaveError, match="the weight must be dense and have values"):
        Unstructured(0.5).project(weight)


def test_eight_bits_of_floating_point_are_too_few_to_compute_with() -> None:
    with pytest.raises(SpokeshaveError, match=r"float8_e4m3fn; give the weight as \.float\(\)"):
        Unstructured(0.5).project(torch.eye(4).to(torch.float8_e4m3fn))
