import pytest
import torch
from tests.tokens.networks import images, network

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens import (
    Drop,
    Gumbel,
    Learned,
    Package,
    Threshold,
    TokenReducer,
    calibrate_thresholds,
    insert,
)


@pytest.mark.parametrize("rest", [Drop(), Package()])
def test_the_shares_are_met_over_the_batches_together(rest: Drop) -> None:
    vit, inputs = network("vit"), images(40)
    keep = (0.75, 0.5, 0.2)
    with (
        insert(vit, [TokenReducer(place, Learned(), Gumbel(), rest) for place in (1, 2, 3)]) as reduced,
        torch.no_grad(),
    ):
        thresholds = calibrate_thresholds(vit, [(inputs[:20], None), inputs[20:]], keep)
        assert [one.decision for one in reduced.reducers] == [Threshold(least) for least in thresholds]
        vit(inputs)
        for kept, share in zip(reduced.kept, keep, strict=True):
            assert float(kept.mean()) == pytest.approx(share, abs=0.003)
            assert float(kept.sum(1).std()) > 0  # sample by sample more or fewer


def test_mistakes() -> None:
    vit = network("vit")
    with insert(vit, TokenReducer(1, Learned(), Gumbel())) as reduced:
        for keep, batches in (((0.5, 0.2), [images(1)]), ((0.0,), [images(1)]), ((0.5,), [])):
            with pytest.raises(SpokeshaveError, match="thresholds need batches, and a share above 0"):
                calibrate_thresholds(vit, batches, keep)
        with pytest.raises(SpokeshaveError, match=r"no reducer stands before block 2; they do before \[1\]"):
            reduced.decide(2, Threshold())
