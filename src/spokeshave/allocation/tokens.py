"""Where tokens leave a transformer and how many, so that its blocks meet a latency (SPViT, HeatViT)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from spokeshave.allocation.curves import ascending
from spokeshave.allocation.search import Slopes, settle
from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.schemes.checks import check_count, check_least, check_share
from spokeshave.tokens import Drop, TokenReducer, TopK, insert
from spokeshave.tokens.decisions import successive
from spokeshave.tokens.rest import Rest
from spokeshave.tokens.scorers import CLSAttention, Scorer
from spokeshave.tokens.staircase import Staircase

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
CLOSE = 0.085  # neighbours whose shares differ by less are one stage, as the papers' are (recalled)
STEP = 1e-9  # shares that differ at all

Placement = dict[int, float]


@dataclass(frozen=True)
class TokenBudget:
    """`limit` seconds for all `blocks` of a network, each of which costs what `block` says of its tokens.

    `patches` and `leading` are its tokens without reducers. The first `dense` blocks are left alone, where dropping
    hurts most. `shares` are those of all patches that may stay, from 1 down.
    """

    limit: float
    block: Staircase
    blocks: int
    patches: int
    leading: int = 1
    dense: int = 3
    shares: Sequence[float] = SHARES

    def __post_init__(self) -> None:
        check_kind(
            "TokenBudget: shares", self.shares, (list, tuple), "shares of all patches, such as (1, 0.5)"
        )
        for share in self.shares:
            check_share("TokenBudget", "each of shares", share)
        falling = all(after < before for before, after in pairwise(self.shares))
        if len(self.shares) < 2 or self.shares[0] != 1 or not falling:
            raise SpokeshaveError(f"TokenBudget: shares must go down from 1, not {tuple(self.shares)}")
        check_kind("TokenBudget: block", self.block, Staircase, "a Staircase of one block")
        check_least("TokenBudget", "limit", self.limit, 0)
        for field, least in (("blocks", 2), ("patches", 1), ("leading", 0), ("dense", 1)):
            check_count("TokenBudget", field, getattr(self, field), least)
        if self.dense >= self.blocks:
            raise SpokeshaveError(
                f"TokenBudget: of {self.blocks} blocks the first 1 to {self.blocks - 1} can be left alone, "
                f"not {self.dense}"
            )

    @property
    def places(self) -> range:
        """Blocks in front of which tokens may leave."""
        return range(self.dense, self.blocks)

    def seconds(self, placement: Mapping[int, float]) -> float:
        """What the blocks cost where behind each place at most so large a share of all patches is left."""
        wrong = [share for share in placement.values() if not 0 < share <= 1]
        if wrong:
            raise SpokeshaveError(f"a placement has shares above 0 and at most 1, not {wrong[0]!r}")
        total, share = 0.0, 1.0
        for block in range(self.blocks):
            share = min(share, placement.get(block, 1.0))
            total += self.block.at(self.leading + TopK(share).count(self.patches))
        return total

    @property
    def least(self) -> float:
        """Seconds at the smallest share everywhere."""
        return self.seconds(dict.fromkeys(self.places, self.shares[-1]))

    def check(self) -> None:
        """Raise SpokeshaveError for a limit that no placement meets."""
        if self.limit < self.least:
            raise SpokeshaveError(
                f"{1e3 * self.limit:.4g} ms cannot be met: with {self.shares[-1]:.0%} of the patches behind block "
                f"{self.dense} on, the blocks take {1e3 * self.least:.4g} ms ({self.block.kind}), the lowest there is"
            )


def allocate_tokens(
    budget: TokenBudget, losses: Mapping[int, Sequence[float]], merge: float = CLOSE
) -> Placement:
    """Shares of all patches by place that meet the budget where losing more would hurt equally everywhere.

    `losses` are what each place loses at each share (see `token_losses`). Places whose shares are close become one
    stage, with the first's place; shares are lowered until the merged stages meet the limit too. Raises
    SpokeshaveError, saying the lowest, for a limit that no placement meets.
    """
    budget.check()
    _check_losses(budget, losses)
    names = tuple(str(place) for place in budget.places)
    slopes = Slopes(
        names,
        torch.stack([_slopes(budget, place, losses[place]) for place in budget.places]),
        tuple(budget.shares),
    )
    tried: list[tuple[float, Placement]] = []

    def left(shares: Mapping[str, float]) -> float:
        merged = merge_stages({int(name): share for name, share in shares.items()}, merge)
        tried.append((budget.seconds(merged), merged))
        return tried[-1][0] / budget.limit

    settle(slopes, left, 1.0, 1e-3)
    within = [one for one in tried if one[0] <= budget.limit]
    return max(within, key=lambda one: one[0])[1]


def _check_losses(budget: TokenBudget, losses: Mapping[int, Sequence[float]]) -> None:
    missing = [place for place in budget.places if place not in losses]
    if missing:
        raise SpokeshaveError(
            f"losses lack place {missing[0]}; give those of {budget.places[0]} to {budget.places[-1]}"
        )
    for place in budget.places:
        if len(losses[place]) != len(budget.shares):
            raise SpokeshaveError(
                f"place {place} has {len(losses[place])} losses for {len(budget.shares)} shares"
            )
        if not all(map(math.isfinite, losses[place])):
            raise SpokeshaveError(f"place {place} has losses that are no numbers: {list(losses[place])}")


def insert_from_back(
    budget: TokenBudget, acceptable: Callable[[Placement], bool], merge: float = CLOSE
) -> Placement:
    """The papers' schedule: from the last block to the front, each place's share is lowered while `acceptable` says so.

    `acceptable(placement)` fine-tunes and judges the accuracy, as the user likes. It ends as soon as the budget is met,
    merged stages included; raises SpokeshaveError, saying the lowest that was acceptable, where it never is.
    """
    budget.check()
    placement: Placement = {}
    for place in reversed(budget.places):
        for share in budget.shares[1:]:
            tried = {**placement, place: share}
            if not acceptable(merge_stages(tried, STEP)):
                break
            placement = tried
            if budget.seconds(merge_stages(placement, merge)) <= budget.limit:
                return merge_stages(placement, merge)
    raise SpokeshaveError(
        f"{1e3 * budget.limit:.4g} ms is not met: the lowest that was acceptable is "
        f"{1e3 * budget.seconds(placement):.4g} ms"
    )


def merge_stages(placement: Mapping[int, float], within: float = CLOSE) -> Placement:
    """Places whose share is less than `within` below the stage's in front become part of it; shares never rise.

    >>> merge_stages({3: 0.7, 4: 0.65, 5: 0.9, 7: 0.4, 8: 1.0})
    {3: 0.7, 7: 0.4}
    """
    stages: Placement = {}
    share = 1.0
    for place in sorted(placement):
        if share - placement[place] >= within:
            share = stages[place] = placement[place]
    return stages


def reducers_of(placement: Mapping[int, float], scorer: Scorer, rest: Rest) -> list[TokenReducer]:
    """Reducers that keep these shares of all patches, whatever the sample; none may be above the one in front.

    >>> from spokeshave.tokens import CLSAttention, Drop
    >>> [(one.before, one.decision.keep) for one in reducers_of({3: 0.5, 6: 0.25}, CLSAttention(), Drop())]
    [(3, 0.5), (6, 0.5)]
    """
    places = sorted(placement)
    decisions = successive([placement[place] for place in places])
    return [
        TokenReducer(place, scorer, decision, rest) for place, decision in zip(places, decisions, strict=True)
    ]


@torch.no_grad()
def token_losses(
    budget: TokenBudget, network: nn.Module, inputs: Sequence[Tensor], scorer: Scorer | None = None
) -> dict[int, list[float]]:
    """By place, how far the scores `[N, classes]` move (mean squared) at each share, with that reducer alone."""
    network.eval()
    dense = [network(batch) for batch in inputs]
    losses: dict[int, list[float]] = {}
    for place in budget.places:
        losses[place] = [0.0]
        for share in budget.shares[1:]:
            with insert(network, TokenReducer(place, scorer or CLSAttention(), TopK(share), Drop())):
                gaps = [
                    (network(batch) - wanted).square().mean()
                    for batch, wanted in zip(inputs, dense, strict=True)
                ]
            losses[place].append(float(torch.stack(gaps).mean()))
    return losses


def _slopes(budget: TokenBudget, place: int, losses: Sequence[float]) -> Tensor:
    """What the next step down loses for each second that it saves, rising, `[shares]`."""
    costs = [budget.seconds({place: share}) for share in budget.shares]
    steps = [
        (lost - before) / max(saved_from - saved_to, 1e-12)
        for (before, lost), (saved_from, saved_to) in zip(pairwise(losses), pairwise(costs), strict=True)
    ]
    return ascending(torch.tensor([min(0.0, *steps), *steps], dtype=torch.float64))
