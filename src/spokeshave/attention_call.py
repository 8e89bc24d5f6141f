"""A call of `scaled_dot_product_attention` as data, for those who compute something else in its place."""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """Queries `[N, heads, Q, D]`, keys and values `[N, heads, T, D]`, and how they are to be attended to.

    `mask` broadcasts to `[N, heads, Q, T]`: truth values, or numbers that are added to scores. A `scale` of None is
    PyTorch's own, which is `1 / sqrt(D)`.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None = None
    dropout: float = 0.0
    causal: bool = False
    scale: float | None = None

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> "AttentionCall":
        """The call with PyTorch's arguments; keys and values of grouped queries are repeated for every head."""
        if enable_gqa:
            key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], 1) for each in (key, value))
        return cls(query, key, value, attn_mask, dropout_p, is_causal, scale)

    @property
    def bias(self) -> Tensor | None:
        """What the mask adds to scores: minus infinity where its truth value is false."""
        if self.mask is None or self.mask.dtype != torch.bool:
            return self.mask
        return torch.zeros_like(self.mask, dtype=self.query.dtype).masked_fill(~self.mask, -math.inf)

    def scores(self) -> Tensor:
        """What the softmax reads, `[N, heads, Q, T]`; the mask is added, causality is left to the caller.

        >>> AttentionCall(*torch.ones(3, 1, 1, 2, 4)).scores()
        tensor([[[[2., 2.],
                  [2., 2.]]]])
        """
        scale = self.query.shape[-1] ** -0.5 if self.scale is None else self.scale
        scores, bias = self.query @ self.key.transpose(-2, -1) * scale, self.bias
        return scores if bias is None else scores + bias

    def first_queries(self, count: int) -> "AttentionCall":
        """The call for the first queries alone."""
        mask = None if self.mask is None else self.mask[..., :count, :]
        return replace(self, query=self.query[:, :, :count], mask=mask)

    def weigh(self, probabilities: Tensor) -> Tensor:
        """Values weighed by what somebody computed in the softmax's place, dropout included."""
        kept = F.dropout(probabilities, self.dropout) if self.dropout else probabilities
        return kept @ self.value

    def attend(self) -> Tensor:
        """PyTorch's own attention."""
        return F.scaled_dot_product_attention(
            self.query, self.key, self.value, self.mask, self.dropout, self.causal, scale=self.scale
        )
