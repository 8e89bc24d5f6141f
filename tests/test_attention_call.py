import pytest
import torch
import torch.nn.functional as F

from spokeshave.attention_call import AttentionCall

GENERATOR = torch.Generator().manual_seed(0)
QUERY, KEY, VALUE = (torch.randn(2, heads, 5, 4, generator=GENERATOR) for heads in (4, 2, 2))
MASKS = {
    "no mask": None,
    "truth values": torch.tensor([True, False, True, True, False]).expand(2, 1, 5, 5),
    "numbers": torch.randn(1, 4, 5, 5, generator=GENERATOR),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("scale", [None, 0.3])
def test_its_scores_are_those_of_pytorch(mask: torch.Tensor | None, scale: float | None) -> None:
    expected = F.scaled_dot_product_attention(QUERY, KEY, VALUE, mask, scale=scale, enable_gqa=True)
    call = AttentionCall.of(QUERY, KEY, VALUE, mask, scale=scale, enable_gqa=True)
    torch.testing.assert_close(call.weigh(call.scores().softmax(-1)), expected)
    torch.testing.assert_close(call.attend(), expected)
    torch.testing.assert_close(call.first_queries(2).attend(), expected[:, :, :2])


def test_causality_and_dropout_are_passed_on() -> None:
    keys, values = torch.randn(2, 2, 4, 5, 4, generator=GENERATOR)
    call = AttentionCall.of(QUERY, keys, values, is_causal=True)
    torch.testing.assert_close(
        call.attend(), F.scaled_dot_product_attention(QUERY, keys, values, is_causal=True)
    )
    assert not AttentionCall.of(QUERY, keys, values, dropout_p=1.0).weigh(torch.ones(2, 4, 5, 5)).any()
