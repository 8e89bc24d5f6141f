"""Tokens that are masked where they stand, compiled: in windows, and by several reducers."""

import pytest
import torch
from tests.tokens.networks import images, network

from spokeshave.compiler import compile_network
from spokeshave.tokens import Freeze, Random, ReceivedAttention, TokenReducer, TopK, Zero, insert


@pytest.mark.parametrize(("kind", "rest"), [("swin", Freeze()), ("lv-vit", Zero())])
def test_masked_tokens_compile(kind: str, rest: Freeze | Zero) -> None:
    vit, inputs = network(kind).float(), images(2).float()
    scorers = {1: ReceivedAttention(), 2: Random(), 3: ReceivedAttention()}
    reducers = [TokenReducer(place, scorer, TopK(0.7), rest) for place, scorer in scorers.items()]
    with insert(vit, reducers) as reduced, torch.no_grad():
        found = compile_network(vit, inputs)(inputs)
        torch.testing.assert_close(found, vit(inputs), rtol=1e-4, atol=1e-5)
        assert not reduced.decisions[-1].all()
