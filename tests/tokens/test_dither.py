"""A dither spreads choices evenly, in training and evaluation, in PyTorch and compiled."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from spokeshave import compile_network
from spokeshave.errors import SpokeshaveError
from spokeshave.networks import VisionTransformer
from spokeshave.tokens import Drop, Gumbel, Learned, Package, Threshold, TokenReducer, TopK, insert
from spokeshave.tokens.dither import dithered, place_odds


@settings(deadline=None)
@given(some.integers(1, 400), some.floats(0.1, 4))
def test_odds_are_logistic_and_no_place_is_preferred_on_average(patches: int, strength: float) -> None:
    logits = place_odds(patches, strength).double().log() / strength
    assert len(logits.unique()) == patches
    ranked = logits.sort().values.sigmoid()
    torch.testing.assert_close(ranked, (torch.arange(patches).double() + 0.5) / patches, rtol=0, atol=1e-4)


@pytest.mark.parametrize("patches", [49, 64, 100, 144, 196, 98, 50])
@pytest.mark.parametrize("keep", [0.25, 0.4, 0.6])
def test_equal_scores_are_kept_all_over_the_image(patches: int, keep: float) -> None:
    """Every quarter of an image, and every stretch of a line, keeps about its share; by chance it would not."""
    kept = place_odds(patches, 1.0).argsort(descending=True).argsort() < round(keep * patches)
    side = round(patches**0.5)
    if side * side == patches:
        half = side // 2
        parts = [
            kept.view(side, side)[rows, columns].float()
            for rows in _halves(half)
            for columns in _halves(half)
        ]
    else:
        parts = [part.float() for part in kept.chunk(5)]
    for part in parts:
        assert abs(float(part.sum()) - keep * part.numel()) <= 2


def _halves(half: int) -> tuple[slice, slice]:
    return slice(None, half), slice(-half, None)


@settings(deadline=None)
@given(some.floats(0.001, 0.999), some.floats(0.01, 100))
def test_odds_are_multiplied(probability: float, odds: float) -> None:
    exact = torch.tensor([probability, odds], dtype=torch.float64)
    found = float(dithered(exact[0], exact[1]))
    assert found / (1 - found) == pytest.approx(odds * probability / (1 - probability), rel=1e-6)


def test_sure_scores_stay_sure_in_few_bits() -> None:
    odds = place_odds(400, 4.0)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        sure = torch.tensor([[0.0], [1.0]], dtype=dtype).expand(2, 400)
        assert torch.equal(dithered(sure, odds), sure)


def _network(*reducers: TokenReducer) -> VisionTransformer:
    torch.manual_seed(0)
    network = VisionTransformer(1, 16, 2, width=16, heads=2, blocks=4).eval()
    insert(network, list(reducers))
    return network


@pytest.mark.parametrize("decision", [Gumbel(), Threshold(0.6), TopK(0.3)])
@pytest.mark.parametrize("rest", [Drop(), Package()])
def test_compiled_as_in_pytorch(decision: Gumbel | Threshold | TopK, rest: Drop | Package) -> None:
    images = torch.randn(5, 1, 16, 16)
    network = _network(TokenReducer(1, Learned(dither=1.5), decision, rest))
    with torch.no_grad():
        wanted = network(images)
    deployment = compile_network(network, images[:1])
    assert not deployment.fallen_out
    torch.testing.assert_close(deployment(images), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("first", [Gumbel(), TopK(0.5)])
def test_compiled_behind_another_reducer_places_are_not_known(first: Gumbel | TopK) -> None:
    network = _network(TokenReducer(1, Learned(), first), TokenReducer(2, Learned(dither=1.0), Gumbel()))
    with pytest.raises(SpokeshaveError, match="before block 2: a dither goes by patches' places"):
        compile_network(network, torch.randn(1, 1, 16, 16))


@pytest.mark.parametrize("strength", [-1, 4.1, float("nan"), "much", True])
def test_a_wrong_strength_is_told(strength: object) -> None:
    with pytest.raises(SpokeshaveError, match=r"Learned: dither is a strength from 0 \(none\) to 4"):
        Learned(dither=strength)  # type: ignore[arg-type]
