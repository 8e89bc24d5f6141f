"""One forward pass of a network with fewer tokens: who takes part, and what a reducer makes of it."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError
from spokeshave.token_selection import package_token, select_tokens, take_tokens
from spokeshave.tokens.attention import Wanted
from spokeshave.tokens.check import check_compiled
from spokeshave.tokens.decisions import Decision, TopK, choose
from spokeshave.tokens.reducer import TokenReducer
from spokeshave.tokens.rest import Package, Zero
from spokeshave.tokens.scorers import CLSAttention, ReceivedAttention, Seen, score
from spokeshave.tokens.selector import Selector

Form = Literal["masked", "gathered"]
Layout = Literal["masked", "gathered", "in place"]


@dataclass
class Pass:
    """What is known of the tokens of one forward pass, of one stage.

    `alive` `[N, T]` says who takes part (None: all, class tokens included), `places` `[N, T - leading]` where tokens
    lie among the patches; `count` is how many patches each sample has left, while that is the same for all.
    `packages` are the last tokens.
    """

    layout: Layout
    patches: int
    places: Tensor | None
    count: int | None
    alive: Tensor | None = None
    packages: int = 0
    attention: Tensor | None = None


@dataclass
class Flow:
    """The reducers of a network at work. `kept` `[N, patches]` of every reducer is the last pass's, with gradients."""

    leading: int
    reducers: dict[int, TokenReducer]
    selectors: dict[int, Selector]
    form: Form | None = None
    given: Tensor | None = None
    kept: list[Tensor] = field(default_factory=list)
    scores: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)
    current: Pass | None = None
    features: Tensor | None = None
    entered: set[int] = field(default_factory=set)
    training: bool = True

    @property
    def stays(self) -> bool:
        """Whether tokens stay in place."""
        return all(reducer.stays for reducer in self.reducers.values())

    def begin(self, tokens: Tensor, training: bool, whole: bool, first: bool) -> None:
        """Start a pass, or a stage of it, with all tokens taking part; `whole` blocks are given all of them."""
        if tokens.shape[1] <= self.leading:
            raise SpokeshaveError(
                f"of {tokens.shape[1]} tokens {self.leading} are class tokens, so that no patch is left; tell with "
                "class_tokens="
            )
        if first:
            self.kept, self.scores, self.counts, self.features = [], [], [], None
            self.entered, self.training = set(), training
        adaptive = any(reducer.adaptive for reducer in self.reducers.values())
        masked = (self.form or ("masked" if training else "gathered")) == "masked"
        alone = len(tokens) == 1 or not adaptive
        layout: Layout = (
            "masked" if masked or whole else "gathered" if alone and not self.stays else "in place"
        )
        if layout == "in place" and adaptive and torch.compiler.is_exporting():
            raise SpokeshaveError(
                "tokens that stay in place (Freeze, Zero) are exported with TopK alone; where every sample keeps as "
                "many as it needs, use Drop() or Package()"
            )
        patches = tokens.shape[1] - self.leading
        places = torch.arange(patches, device=tokens.device).expand(len(tokens), -1)
        self.current = Pass(layout, patches, places, patches)

    def enter(self, block: int, name: str) -> None:
        """Note that a block begins; raises SpokeshaveError where it has run in this pass before."""
        if block in self.entered:
            raise SpokeshaveError(
                f"block {name!r} runs a second time in one pass, whose tokens have moved on; with token reducers, turn "
                "gradient checkpointing off, and give no block two places"
            )
        self.entered.add(block)

    def wanted(self, block: int) -> Wanted | None:
        """What of a block's attention the reducer behind it scores by."""
        reducer = self.reducers.get(block + 1)
        if reducer is None or not isinstance(reducer.scorer, (CLSAttention, ReceivedAttention)):
            return None
        return "class" if isinstance(reducer.scorer, CLSAttention) else "received"

    def reduce(self, block: int, tokens: Tensor, training: bool) -> Tensor:
        """Tokens `[N, T, C]` as the block is to see them, behind the reducer in front of it."""
        reducer, now = self.reducers[block], self.current
        assert now is not None
        scored = tokens[:, self.leading :]
        alive = torch.ones_like(scored[:, :, 0]) if now.alive is None else now.alive[:, self.leading :]
        seen = Seen(
            scored,
            None if now.alive is None else alive,
            now.places,
            now.attention,
            self.given,
            training,
            now.patches,
            now.patches + now.packages,
        )
        scores = score(reducer.scorer, seen, self.selectors.get(block))
        if now.layout == "gathered" and torch.compiler.is_exporting():
            return self._select(block, tokens, scores, reducer, now)
        patches = scored.shape[1] - now.packages
        candidates = torch.cat((alive[:, :patches], torch.zeros_like(alive[:, patches:])), 1)
        count = _count(reducer.decision, now.count)
        chosen = choose(reducer.decision, scores, candidates, training, count)
        self._write_down(chosen[:, :patches], scores[:, :patches], candidates[:, :patches], now)
        merges = isinstance(reducer.rest, Package) and reducer.rest.single
        kept = chosen if merges else chosen + (alive - candidates)
        packed = package_token(scored, scores, alive - kept) if isinstance(reducer.rest, Package) else None
        whole = torch.cat((torch.ones_like(tokens[:, : self.leading, 0]), kept), 1)
        now.count = count
        if now.layout == "gathered":
            tokens = self._gather(tokens, whole, patches, now)
            now.packages = 0 if merges else now.packages
        else:
            now.alive = whole
            tokens = tokens * whole[:, :, None] if isinstance(reducer.rest, Zero) else tokens
        return tokens if packed is None else _append(tokens, packed, now)

    def _select(self, block: int, tokens: Tensor, scores: Tensor, reducer: TokenReducer, now: Pass) -> Tensor:
        """The operator that the compiler knows."""
        check_compiled(tuple(self.reducers.values()))
        rest = reducer.rest
        how = "drop" if not isinstance(rest, Package) else "merge" if rest.single else "package"
        decision, patches = reducer.decision, scores.shape[1] - now.packages
        found = select_tokens(
            tokens,
            scores,
            f"block{block}",
            threshold=0.5 if isinstance(decision, TopK) else decision.least,
            count=_count(decision, patches),
            leading=self.leading,
            packages=now.packages,
            rest=how,
        )
        now.packages = 1 if how == "merge" else now.packages + (how == "package")
        now.places = None
        return found

    def _gather(self, tokens: Tensor, whole: Tensor, patches: int, now: Pass) -> Tensor:
        mask = whole.detach() > 0.5
        assert now.places is not None
        now.places = now.places[mask[:, self.leading :]].view(len(tokens), -1)
        return take_tokens(tokens, mask.flatten().nonzero()[:, 0])

    def _write_down(self, chosen: Tensor, scores: Tensor, candidates: Tensor, now: Pass) -> None:
        """The decision over all patches of the stage, and what it was taken by (0 for those that were gone)."""
        if now.places is None or torch.compiler.is_exporting():
            return
        places = now.places[:, : chosen.shape[1]]
        empty = chosen.new_zeros(len(chosen), now.patches)
        self.kept.append(empty.scatter(1, places, chosen))
        self.scores.append(empty.scatter(1, places, (scores * candidates).detach()))


def _count(decision: Decision, tokens: int | None) -> int | None:
    """How many tokens every sample keeps of as many, where that is the same for all."""
    return decision.count(tokens) if isinstance(decision, TopK) and tokens is not None else None


def _append(tokens: Tensor, packed: Tensor, now: Pass) -> Tensor:
    if now.places is not None:
        place = now.places.new_full((len(tokens), 1), now.patches + now.packages)
        now.places = torch.cat((now.places, place), 1)
    now.packages += 1
    if now.alive is not None:
        now.alive = torch.cat((now.alive, torch.ones_like(now.alive[:, :1])), 1)
    return torch.cat((tokens, packed), 1)
