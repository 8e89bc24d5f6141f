"""The learned multi-head token selector of SPViT (arXiv 2112.13890) and HeatViT (arXiv 2211.08110)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.tokens.dither import dithered


class Selector(nn.Module):
    """Tokens `[N, T, C]` to probabilities of keeping them `[N, T]`.

    Each head's slice of the channels goes through a norm and a layer, one half of which is a local feature and the
    other, averaged over the tokens that take part, a global one (SPViT); `narrow` layers make local features alone,
    whose average is the global one (HeatViT). A perceptron makes keep and drop of both. The head branch weighs the
    heads' votes token by token.
    """

    def __init__(
        self, width: int, heads: int, shared: bool = False, importance: bool = True, narrow: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        size = width // heads
        branches = 1 if shared else heads
        self.features = nn.ModuleList(
            _features(size, (1 if narrow else 2) * (size // 2)) for _ in range(branches)
        )
        self.votes = nn.ModuleList(_votes(size) for _ in range(branches))
        self.importance = _importance(heads) if importance else None

    @property
    def work(self) -> int:
        """Multiply-adds for one token; global features are the same for all, so their part of the votes is no work."""
        shared = next(self.votes[0].parameters()).numel() // 2
        heads = linear_weights(self.features[0]) + linear_weights(self.votes[0]) - shared
        return self.heads * heads + (linear_weights(self.importance) if self.importance is not None else 0)

    def forward(self, tokens: Tensor, alive: Tensor | None, odds: Tensor | None = None) -> Tensor:
        """Score tokens, of which those take part whose `alive` `[N, T]` is 1, or all.

        With `odds` `[N, T]` those of the probabilities are multiplied by them.
        """
        scores = self._probabilities(tokens, alive)
        return scores if odds is None else dithered(scores, odds)

    def _probabilities(self, tokens: Tensor, alive: Tensor | None) -> Tensor:
        slices = tokens.chunk(self.heads, 2)  # planes of their own when compiled: nothing is moved
        keep = [self._head(index, each, alive) for index, each in enumerate(slices)]
        scores = torch.stack(keep, 2)
        if self.importance is None:
            return scores.mean(2)
        weights = self.importance(torch.stack([each.mean(2) for each in slices], 2))
        return (scores * weights).sum(2) / weights.sum(2)

    def _head(self, index: int, tokens: Tensor, alive: Tensor | None) -> Tensor:
        branch = index % len(self.features)
        votes: Any = self.votes[branch]
        first, size = votes[0], votes[0].in_features // 2
        features = self.features[branch](tokens)
        local, shared = features[..., :size], features[..., -size:]  # the same where they are narrow
        # The layer over both side by side, without repeating for every token what all of them share.
        here, everywhere = first.weight.split(size, 1)
        own = F.linear(local, here, first.bias)
        found: Tensor = votes[1:](own + F.linear(_mean(shared, alive), everywhere).expand_as(own))
        return found.softmax(2)[:, :, 0]


def _mean(tokens: Tensor, alive: Tensor | None) -> Tensor:
    if alive is None:
        return tokens.mean(1, keepdim=True)
    weights = alive[:, :, None]
    return (tokens * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp_min(1)


def linear_weights(module: nn.Module) -> int:
    """Weights of the linear layers of a module: its multiply-adds for one token, where each runs once."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def _features(size: int, found: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(size), nn.Linear(size, found), nn.GELU())


def _votes(size: int) -> nn.Module:
    half, quarter = size // 2, size // 4
    return nn.Sequential(
        nn.Linear(2 * half, half), nn.GELU(), nn.Linear(half, quarter), nn.GELU(), nn.Linear(quarter, 2)
    )


def _importance(heads: int) -> nn.Module:
    half = max(1, heads // 2)
    return nn.Sequential(nn.Linear(heads, half), nn.GELU(), nn.Linear(half, heads), nn.Sigmoid())
