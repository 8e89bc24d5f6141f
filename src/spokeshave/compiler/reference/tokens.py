"""Runs attention, embeddings, routing and selection."""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from spokeshave.attention_call import AttentionCall
from spokeshave.compiler.operations import Attention, Embedding, SelectTokens, TopK
from spokeshave.compiler.reference.runner import Runner, Weights, prefix
from spokeshave.polynomials import polynomial_exp, polynomial_softmax
from spokeshave.token_selection import select_tokens


def _attention(op: Attention, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    """Every window a sample of its own for PyTorch."""
    query = in_heads(inputs[0], op.windows, op.heads)
    key, value = (in_heads(tensor, op.windows, op.key_heads) for tensor in inputs[1:3])
    mask = attention_mask(op, inputs, weights, query.shape[-2], key.shape[-2])
    call = AttentionCall.of(query, key, value, mask, scale=op.scale, enable_gqa=op.heads != op.key_heads)
    if op.half:
        found = _in_bfloat16(call, op.polynomial)
    elif op.polynomial is not None:
        found = call.weigh(polynomial_softmax(call.scores(), -1, op.polynomial))
    else:
        found = call.attend()
    return found.transpose(1, 2).reshape(shape)


def _in_bfloat16(call: AttentionCall, polynomial: float | None) -> Tensor:
    """What is multiplied is rounded: the inputs, and exponentials before they are divided by their sum."""
    scores = replace(call, query=_rounded(call.query), key=_rounded(call.key)).scores()
    below = scores - scores.amax(-1, keepdim=True).clamp(min=torch.finfo().min)
    exponentials = below.exp() if polynomial is None else polynomial_exp(below)
    total = exponentials.sum(-1, keepdim=True) / (1.0 if polynomial is None else polynomial)
    return _rounded(exponentials) @ _rounded(call.value) * torch.where(total > 0, 1 / total, 0.0)


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().float()


def in_heads(tokens: Tensor, windows: int, heads: int) -> Tensor:
    """`[1, T, heads * size]` to `[windows, heads, T / windows, size]`."""
    return tokens.reshape(windows, -1, heads, tokens.shape[-1] // heads).transpose(1, 2)


def attention_mask(
    op: Attention, inputs: list[Tensor], weights: Weights, queries: int, keys: int
) -> Tensor | None:
    """What is added to scores: the mask, and minus infinity where a causal query does not see."""
    mask = prefix(weights[op.mask], (queries, keys)) if op.mask else inputs[3] if len(inputs) > 3 else None
    if not op.causal:
        return mask
    hidden = torch.ones(queries, keys, device=inputs[0].device).tril(keys - queries) == 0
    causal = torch.zeros(queries, keys, device=inputs[0].device).masked_fill(hidden, -torch.inf)
    return causal if mask is None else mask + causal


def _embedding(op: Embedding, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> Tensor:
    """Rows of a table."""
    return F.embedding(inputs[0], weights[op.weight]).reshape(shape)


def _top_k(op: TopK, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]) -> list[Tensor]:
    """A stable sort keeps equal values in order, which `topk` does not promise."""
    values, numbers = inputs[0].sort(dim=-1, descending=True, stable=True)
    return [values[..., : op.count], numbers[..., : op.count].float()]


def _select_tokens(
    op: SelectTokens, inputs: list[Tensor], weights: Weights, shape: tuple[int, ...]
) -> list[Tensor]:
    """Tensors without data select as many as the shape says."""
    tokens, scores = inputs
    if tokens.is_meta:
        return [tokens.new_empty(shape), tokens.new_empty(1, 1)]
    chosen = select_tokens(
        tokens,
        scores,
        op.name,
        threshold=op.threshold,
        count=op.count,
        leading=op.leading,
        packages=op.packages,
        rest=op.rest,
    )
    return [chosen, chosen.new_full((1, 1), chosen.shape[1])]


RUNNERS: Mapping[type, Runner] = {
    Attention: _attention,
    Embedding: _embedding,
    SelectTokens: _select_tokens,
    TopK: _top_k,
}
