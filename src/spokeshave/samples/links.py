"""The attention level of Tri-Level E-ViT (arXiv 2211.10801): tokens read fewer tokens, chosen by earlier attention."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from spokeshave.attention_call import AttentionCall
from spokeshave.errors import SpokeshaveError

Per = Literal["row", "key"]
ROUNDING = 1e-9


@dataclass(frozen=True)
class LinkPruning:
    """Which links between patches stay in attention.

    `after`: the attentions, counted from 0, whose map (softmax of all links, mean over heads) chooses for those behind
    them. With `per` "row" every patch keeps the share `keep` of the patches that it attends to most (the paper's
    form: a mask, which saves nothing by itself); with "key" all patches read the same share, those that receive the
    most attention, and the others' keys and values are not read at all; every `stride`-th patch says what it attends
    to, so that choosing costs little. Links with the `leading` class tokens stay.
    """

    keep: float = 0.5
    after: tuple[int, ...] = (3, 6, 9)
    per: Per = "key"
    leading: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise SpokeshaveError(
                f"LinkPruning: keep is the share of links that stays, above 0 and at most 1, not {self.keep!r}"
            )
        if not _are_counts(self.after) or not self.after:
            raise SpokeshaveError(
                f"LinkPruning: after names attentions, counted from 0, such as (3, 6, 9), not {self.after!r}"
            )
        if not _are_counts((self.leading,)):
            raise SpokeshaveError(
                f"LinkPruning: leading counts class tokens, 0 or more, not {self.leading!r}"
            )
        if self.per not in ("row", "key"):
            raise SpokeshaveError(f"LinkPruning: per is 'row' or 'key', not {self.per!r}")
        if not _are_counts((self.stride,)) or not self.stride or (self.per == "row" and self.stride > 1):
            raise SpokeshaveError(
                f"LinkPruning: stride is 1 or more, and 1 where every row chooses for itself, not {self.stride!r}"
            )

    def count(self, patches: int) -> int:
        """How many of so many patches one reads.

        >>> LinkPruning(0.1).count(196)
        20
        """
        return math.ceil(self.keep * patches - ROUNDING)


def _are_counts(numbers: object) -> bool:
    return isinstance(numbers, tuple) and all(type(number) is int and number >= 0 for number in numbers)


def attention_map(call: AttentionCall) -> Tensor:
    """The softmax of all links, mean over heads: `[N, T, T]`."""
    return call.scores().softmax(-1).mean(1)


def row_mask(scores: Tensor, pruning: LinkPruning) -> Tensor:
    """Truth values `[N, T, T]`, true where a link stays, by a map of attention `[N, T, T]`.

    >>> row_mask(torch.tensor([[[0.5, 0.2, 0.3]] * 3]), LinkPruning(0.5))[0].int().tolist()
    [[1, 1, 1], [1, 0, 1], [1, 0, 1]]
    """
    front = pruning.leading
    inner = scores[:, front:, front:]
    best = inner.topk(pruning.count(inner.shape[2]), dim=2).indices
    mask = torch.ones_like(scores, dtype=torch.bool)
    mask[:, front:, front:] = torch.zeros_like(inner, dtype=torch.bool).scatter(2, best, True)
    return mask


def received(call: AttentionCall, pruning: LinkPruning) -> Tensor:
    """How much attention each patch receives from the patches that are asked, `[N, patches]`."""
    asked = replace(call, query=call.query[:, :, pruning.leading :: pruning.stride])
    return attention_map(asked)[:, :, pruning.leading :].sum(1)


def kept_keys(received: Tensor, pruning: LinkPruning) -> Tensor:
    """Numbers `[N, M]` of the tokens that are read, in order, by how much attention patches receive, `[N, patches]`.

    >>> kept_keys(torch.tensor([[0.6, 0.9]]), LinkPruning(0.5)).tolist()
    [[0, 2]]
    """
    best = received.topk(pruning.count(received.shape[1]), dim=1).indices.sort(1).values + pruning.leading
    leading = torch.arange(pruning.leading, device=best.device).expand(len(best), -1)
    return torch.cat((leading, best), 1)


def restrict(scores: Tensor, stayed: Tensor, leading: int) -> Tensor:
    """A map `[N, T, T]`, or what patches receive, `[N, patches]`, among those that `stayed` `[N, patches]`.

    Equally many stay of every sample.
    """
    if scores.dim() == 2:
        return scores[stayed].view(len(stayed), -1)
    front = torch.ones_like(stayed[:, :1]).expand(-1, leading)
    places = torch.cat((front, stayed), 1).nonzero()[:, 1].view(len(stayed), -1)
    rows = scores.gather(1, places[:, :, None].expand(-1, -1, scores.shape[2]))
    return rows.gather(2, places[:, None, :].expand(-1, places.shape[1], -1))


Alive = Callable[[], Tensor | None]
"""Truth values `[N, patches]` of the patches that take part now; None while all do."""
