"""Constant attention masks."""

import torch
from torch import Tensor


def additive_numbers(mask: Tensor) -> Tensor:
    """A constant mask as numbers to add: what is False is -inf."""
    if mask.dtype != torch.bool:
        return mask.float()
    return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)


def is_causal(mask: Tensor) -> bool:
    """Whether a mask shows keys up to the query's own and no others, whatever the head."""
    rows = mask.reshape(-1, *mask.shape[-2:])
    seen = torch.ones(rows.shape[1:], dtype=torch.bool).tril(rows.shape[2] - rows.shape[1])
    hidden = rows.masked_select(~seen)
    return not rows.masked_select(seen).any() and bool((hidden <= torch.finfo(torch.float32).min).all())
