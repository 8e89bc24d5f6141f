"""Runs attention whose two products are of whole numbers."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from spokeshave.attention_call import AttentionCall
from spokeshave.compiler.operations import Attention, Quantization, QuantizedAttention
from spokeshave.compiler.quantization.arithmetic import quantize
from spokeshave.compiler.quantization.executor import to_output
from spokeshave.compiler.reference.tokens import attention_mask, in_heads
from spokeshave.polynomials import polynomial_softmax

Weights = Mapping[str, Tensor]


def run_quantized_attention(
    operation: QuantizedAttention, weights: Weights, inputs: list[Tensor], shape: tuple[int, ...]
) -> Tensor:
    """Levels of the output, `[1, T, heads * size]`; sums are exact, for float64 holds them."""
    attention = operation.attention
    query, key, value = (
        _centred(x, of, attention, count)
        for x, of, count in zip(
            inputs[:3],
            operation.inputs,
            (attention.heads, attention.key_heads, attention.key_heads),
            strict=True,
        )
    )
    mask = attention_mask(attention, inputs, weights, query.shape[-2], key.shape[-2])
    call = AttentionCall.of(
        query, key, value, None, scale=1.0, enable_gqa=attention.heads != attention.key_heads
    )
    levels = quantize(_probabilities(operation, call, mask), operation.probability)
    sums = call.weigh(levels.double())
    return to_output(sums.transpose(1, 2).reshape(shape), operation)


def _probabilities(operation: QuantizedAttention, call: AttentionCall, mask: Tensor | None) -> Tensor:
    """The softmax of scores in float32; a query that sees nothing has none."""
    query, key, _ = operation.inputs
    factor = operation.attention.scale * query.scale * key.scale
    scores = (call.scores() * factor).float()
    bias = replace(call, mask=mask).bias
    if bias is not None:
        scores = scores + bias.float()
    polynomial = operation.attention.polynomial
    if polynomial is not None:
        return polynomial_softmax(scores, -1, polynomial)
    return scores.softmax(-1).nan_to_num(0.0)


def _centred(x: Tensor, of: Quantization, attention: Attention, heads: int) -> Tensor:
    """Numbers without their zero point, float64, head by head."""
    return in_heads(x.double() - of.zero_point, attention.windows, heads)
