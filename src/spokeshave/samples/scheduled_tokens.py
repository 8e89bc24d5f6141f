"""The token level of Tri-Level E-ViT (arXiv 2211.10801): tokens gathered while training, ever fewer by a schedule."""

from collections.abc import Sequence

from torch import Tensor, nn

from spokeshave.samples.keep_schedule import KeepSchedule
from spokeshave.tokens import CLSAttention, Inserted, TokenReducer, TopK, insert
from spokeshave.tokens.scorers import Scorer


class ScheduledTokens:
    """Token reducers in front of blocks `before`, each of which keeps what `schedule` says of the tokens that reach it.

        tokens.at(step, steps)      before every step
        tokens.at(steps, steps)     in the end: evaluation is at the last share
        tokens.remove()             the network as it was before

    Tokens are gathered in training too, so that fewer tokens are less time.
    """

    def __init__(
        self,
        network: nn.Module,
        before: Sequence[int],
        schedule: KeepSchedule,
        scorer: Scorer = CLSAttention(),  # noqa: B008 (frozen)
    ) -> None:
        self._network, self._before, self._schedule, self._scorer = network, tuple(before), schedule, scorer
        self._decision = TopK(1.0)
        self.inserted = self._insert()

    def at(self, step: int, steps: int) -> None:
        """Keep what the schedule says of `step` of `steps`."""
        decision = TopK(self._schedule(step, steps))
        if decision != self._decision:
            self._decision = decision
            for before in self._before:
                self.inserted.decide(before, decision)

    def alive(self) -> Tensor | None:
        """Truth values `[N, patches]` of the patches that are left, what `prune_links` asks for; None while all are."""
        decisions = self.inserted.decisions
        return decisions[-1] if decisions else None

    def remove(self) -> None:
        """Leave the network as it was before."""
        self.inserted.remove()

    def _insert(self) -> Inserted:
        reducers = [TokenReducer(before, self._scorer, self._decision) for before in self._before]
        inserted = insert(self._network, reducers)
        inserted.form = "gathered"
        return inserted
