"""From scores to a choice: top-k, a threshold, or Gumbel noise in training; gradients go straight through."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import pairwise

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError

ROUNDING = 1e-9  # 0.1 * 30 is 3, not a little more


@dataclass(frozen=True)
class TopK:
    """Keep the best `ceil(keep * n)` of a sample's n tokens: the same number for every sample."""

    keep: float

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise SpokeshaveError(
                f"TopK: keep is the share of tokens that stays, above 0 and at most 1, not {self.keep!r}"
            )

    def count(self, tokens: int) -> int:
        """How many of `tokens` stay.

        >>> TopK(0.7).count(196)
        138
        """
        return math.ceil(self.keep * tokens - ROUNDING)


def successive(shares: Sequence[float]) -> list[TopK]:
    """What each of several reducers keeps of the tokens in front of it, so that these shares of all patches are left.

    Raises SpokeshaveError for shares outside (0, 1], and for one above the one before.

    >>> successive([0.5, 0.25, 0.25])
    [TopK(keep=0.5), TopK(keep=0.5), TopK(keep=1.0)]
    """
    before = 1.0
    for share in shares:
        if not 0 < share <= before:
            raise SpokeshaveError(
                f"shares are of all patches, above 0 and at most 1, none above the one before; not {list(shares)}"
            )
        before = share
    return [TopK(share / before) for before, share in pairwise((1.0, *shares))]


@dataclass(frozen=True)
class Threshold:
    """Keep tokens whose score reaches `least`: as many as the sample needs."""

    least: float = 0.5

    def __post_init__(self) -> None:
        if math.isnan(self.least):
            raise SpokeshaveError("Threshold: least is the score that keeps a token, not nan")


@dataclass(frozen=True)
class Gumbel:
    """Keep by probability: in training a hard sample with Gumbel noise, else what reaches `least`."""

    least: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.least < 1:
            raise SpokeshaveError(f"Gumbel: least is a probability between 0 and 1, not {self.least!r}")
        if not 0 < self.temperature < math.inf:
            raise SpokeshaveError(f"Gumbel: temperature must be above 0, not {self.temperature!r}")


Decision = TopK | Threshold | Gumbel
DECISIONS = (TopK, Threshold, Gumbel)


@singledispatch
def choose(
    decision: object, scores: Tensor, candidates: Tensor, training: bool, count: int | None = None
) -> Tensor:
    """1 for tokens that are kept, 0 for others, `[N, T]`, of the `candidates` (1) alone.

    `count` is what `TopK` keeps of every sample, where that is known. The gradient is that of the scores, or of the
    softened sample.
    """
    raise SpokeshaveError(f"{decision!r} is no decision; give TopK(keep), Threshold(least) or Gumbel()")


@choose.register
def _(decision: TopK, scores: Tensor, candidates: Tensor, training: bool, count: int | None = None) -> Tensor:
    ranked = (
        scores.detach().masked_fill(candidates < 0.5, -math.inf).argsort(dim=1, descending=True, stable=True)
    )
    places = torch.arange(scores.shape[1], device=scores.device)
    if count is None:
        counts = (decision.keep * candidates.detach().double().sum(1) - ROUNDING).ceil()
        best = places < counts[:, None]
    else:
        best = (places < count).expand(len(scores), -1)
    return _straight_through(torch.zeros_like(best).scatter(1, ranked, best), scores) * candidates


@choose.register
def _(
    decision: Threshold, scores: Tensor, candidates: Tensor, training: bool, count: int | None = None
) -> Tensor:
    return _straight_through(scores >= decision.least, scores) * candidates


@choose.register
def _(
    decision: Gumbel, scores: Tensor, candidates: Tensor, training: bool, count: int | None = None
) -> Tensor:
    if not training:
        return _straight_through(scores >= decision.least, scores) * candidates
    wide = _bounded(scores)
    noise = torch.rand_like(wide).logit(eps=1e-6)  # the difference of two Gumbel variables
    soft = torch.sigmoid((wide.logit(eps=1e-6) + noise) / decision.temperature)
    return _straight_through(soft >= 0.5, soft).to(scores.dtype) * candidates


def _bounded(scores: Tensor) -> Tensor:
    """Scores in 32 bits at least, whose gradients come back as numbers that the scores' own type can hold."""
    wide = scores.to(at_least_single(scores.dtype))
    if wide is not scores and wide.requires_grad:
        most = torch.finfo(scores.dtype).max
        wide.register_hook(lambda gradient: gradient.clamp(-most, most))
    return wide


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """In what to count and draw: numbers of 16 bits know neither 257 tokens nor small probabilities.

    >>> at_least_single(torch.bfloat16), at_least_single(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The values of `hard` and the gradient of `soft` (Bengio et al., arXiv 1308.3432)."""
    chosen = hard.to(soft.dtype)
    return chosen + (soft - soft.detach()) if soft.requires_grad else chosen
