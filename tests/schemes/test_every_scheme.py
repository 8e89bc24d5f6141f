"""What holds for every scheme, on every kind of weight that it supports."""

from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.examples import EVERY, SHAPES, weights
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.ranking import density
from spokeshave.schemes.scheme import Scheme

PAIRS = [
    pytest.param(scheme, shape, id=f"{scheme} on {kind}")
    for scheme in EVERY
    for kind, shape in SHAPES.items()
    if scheme.supports(shape) is None
]
schemes = pytest.mark.parametrize("scheme", EVERY, ids=str)
FAR = 10**15  # so many of anything fit in no memory


def with_a_number_far_beyond(scheme: Scheme) -> Iterator[tuple[str, object]]:
    """Each whole number of a scheme, alone or in a block, as `FAR`."""
    for field in fields(scheme):
        value = getattr(scheme, field.name)
        if type(value) is int:
            yield field.name, FAR
        elif isinstance(value, tuple) and all(type(part) is int for part in value):
            yield from (
                (field.name, (*value[:place], FAR, *value[place + 1 :])) for place in range(len(value))
            )


def a_shape(scheme: Scheme) -> tuple[int, ...]:
    return next(shape for shape in SHAPES.values() if scheme.supports(shape) is None)


def normal(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("scheme", "shape"), PAIRS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_projections_are_members_stay_and_pack(scheme: Scheme, shape: tuple[int, ...], data) -> None:
    weight = data.draw(weights(shape))
    projected = scheme.project(weight)
    assert scheme.contains(projected)
    assert torch.equal(scheme.project(projected), projected)
    packed = scheme.pack(projected)
    assert torch.equal(packed.unpack(), projected)
    assert packed.shape == shape


@pytest.mark.parametrize(("scheme", "shape"), PAIRS)
def test_members_under_any_saliency(scheme: Scheme, shape: tuple[int, ...]) -> None:
    """Random, of all sizes, zero in part, and zero everywhere: the weight comes into the set, and never to nothing."""
    weight, random = normal(shape), torch.rand(shape, generator=torch.Generator().manual_seed(1))
    for saliency in (random, random * 1e36, random * 1e-30, random * (random > 0.5), torch.zeros(shape)):
        projected = scheme.project(weight, saliency)
        assert scheme.contains(projected)
        assert bool((projected != 0).any())
        assert torch.equal(scheme.pack(projected).unpack(), projected)


@pytest.mark.parametrize(("scheme", "shape"), PAIRS)
def test_of_a_saliency_with_a_sign_only_the_order_counts(scheme: Scheme, shape: tuple[int, ...]) -> None:
    """As much stays as without a sign, and schemes that fit levels refuse what has no price (members stay)."""
    weight, positive = normal(shape), torch.rand(shape, generator=torch.Generator().manual_seed(1)).double()
    if any(levels in str(scheme) for levels in ("FixedPoint", "PowerOfTwo", "Binary", "Codebook")):
        if not scheme.contains(weight):
            with pytest.raises(SpokeshaveError, match="square it first"):
                scheme.project(weight, positive - 0.7)
        return
    projected = scheme.project(weight, positive - 0.7)
    assert scheme.contains(projected)
    moved = positive - positive.min()
    assert torch.equal(projected, scheme.project(weight, moved))
    assert density(projected) >= 0.9 * density(scheme.project(weight, positive))


@schemes
def test_shapes_that_are_not_supported_are_refused_with_the_reason(scheme: Scheme) -> None:
    assert scheme.supports((4,))
    for shape in [(4,), *SHAPES.values()]:
        if reason := scheme.supports(shape):
            assert not scheme.contains(torch.zeros(shape))
            for act in (scheme.project, scheme.pack):
                with pytest.raises(SpokeshaveError) as raised:
                    act(torch.zeros(shape))
                assert reason in str(raised.value) or len(shape) == 1


@schemes
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(scheme: Scheme, wrong: float) -> None:
    weight = torch.zeros(a_shape(scheme))
    saliency = torch.zeros_like(weight)
    weight.view(-1)[0] = wrong
    with pytest.raises(SpokeshaveError, match="the weight holds infinite values or NaN"):
        scheme.project(weight)
    with pytest.raises(SpokeshaveError, match="the weight holds infinite values or NaN"):
        scheme.pack(weight)
    with pytest.raises(SpokeshaveError, match="the saliency holds infinite values or NaN"):
        scheme.project(saliency, saliency=weight)


@schemes
def test_a_saliency_of_another_shape_is_refused(scheme: Scheme) -> None:
    with pytest.raises(SpokeshaveError, match="the saliency has shape"):
        scheme.project(torch.zeros(a_shape(scheme)), torch.zeros(3, 3))


@schemes
def test_whole_numbers_are_no_weights(scheme: Scheme) -> None:
    with pytest.raises(SpokeshaveError, match="a weight must be floating-point"):
        scheme.project(torch.zeros(a_shape(scheme), dtype=torch.long))


@schemes
def test_zeros_stay_zero(scheme: Scheme) -> None:
    zero = torch.zeros(a_shape(scheme))
    assert torch.equal(scheme.project(zero), zero)
    assert torch.equal(scheme.pack(zero).unpack(), zero)


@schemes
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_types_survive(scheme: Scheme, dtype: torch.dtype) -> None:
    projected = scheme.project(normal(a_shape(scheme)).to(dtype))
    assert projected.dtype == dtype
    unpacked = scheme.pack(projected).unpack()
    assert unpacked.dtype == dtype
    assert torch.equal(unpacked, projected)


@schemes
def test_the_squared_weight_is_the_default_saliency(scheme: Scheme) -> None:
    weight = normal(a_shape(scheme))
    assert torch.equal(scheme.project(weight, weight.square()), scheme.project(weight))


@schemes
def test_where_weights_lie_in_memory_does_not_matter(scheme: Scheme) -> None:
    shape = SHAPES["convolution"]
    if scheme.supports(shape) is None:
        weight = normal(shape)
        scattered = weight.to(memory_format=torch.channels_last)
        projected = scheme.project(scattered)
        assert torch.equal(projected, scheme.project(weight))
        assert torch.equal(scheme.pack(projected).unpack(), projected)


@schemes
def test_parameters_give_plain_tensors(scheme: Scheme) -> None:
    assert not scheme.project(torch.nn.Parameter(normal(a_shape(scheme)))).requires_grad


@schemes
def test_only_members_are_packed(scheme: Scheme) -> None:
    with pytest.raises(SpokeshaveError, match=r"does not lie in .*project it first"):
        scheme.pack(normal(a_shape(scheme)))


@schemes
@pytest.mark.parametrize(
    "thing", [None, [[1.0, 2.0]], normal((8, 8, 3, 3)).numpy()], ids=["None", "list", "numpy"]
)
def test_what_is_no_tensor_is_told(scheme: Scheme, thing: object) -> None:
    weight = normal(a_shape(scheme))
    with pytest.raises(SpokeshaveError, match="the saliency must be a tensor, not of type"):
        scheme.project(weight, thing if thing is not None else "None")
    for ask in (scheme.project, scheme.pack, scheme.contains):
        with pytest.raises(SpokeshaveError, match="the weight must be a tensor, not of type"):
            ask(thing)


@schemes
def test_numbers_far_beyond_the_weight_are_refused_or_take_no_more_memory(scheme: Scheme) -> None:
    weight = normal(a_shape(scheme))
    for name, value in with_a_number_far_beyond(scheme):
        try:
            far = replace(scheme, **{name: value})
        except SpokeshaveError:
            continue
        if far.supports(tuple(weight.shape)) is None:
            projected = far.project(weight)
            assert far.contains(projected)
            assert torch.equal(far.project(projected), projected)
            assert torch.equal(far.pack(projected).unpack(), projected)
