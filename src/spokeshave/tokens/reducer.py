"""One token reducer: where, by which scores, by which decision, and what becomes of the rest."""

from dataclasses import dataclass, field

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.decisions import DECISIONS, Decision, Gumbel, TopK
from spokeshave.tokens.rest import RESTS, STAYING, Drop, Rest
from spokeshave.tokens.scorers import ATTENTION, SCORERS, CLSAttention, Given, Scorer


@dataclass(frozen=True)
class TokenReducer:
    """Fewer tokens from block `before` on (counted from 0, through all stages of a network).

    Scores that are attention are those of the block in front. EViT and Tri-Level choose inside that block, behind its
    attention; what they compute is the same, since a block's second half works token by token.

    >>> TokenReducer(3, decision=TopK(0.7))
    TokenReducer(before=3, scorer=CLSAttention(), decision=TopK(keep=0.7), rest=Drop())
    """

    before: int
    scorer: Scorer = field(default_factory=CLSAttention)
    decision: Decision = field(default_factory=lambda: TopK(0.7))
    rest: Rest = field(default_factory=Drop)

    def __post_init__(self) -> None:
        for name, kinds in (("scorer", SCORERS), ("decision", DECISIONS), ("rest", RESTS)):
            if not isinstance(getattr(self, name), kinds):
                known = ", ".join(kind.__name__ for kind in kinds)
                raise SpokeshaveError(
                    f"TokenReducer: {name} must be one of {known}, not {getattr(self, name)!r}"
                )
        if not isinstance(self.before, int) or isinstance(self.before, bool) or self.before < 0:
            raise SpokeshaveError(f"TokenReducer: before counts blocks from 0, not {self.before!r}")
        if isinstance(self.scorer, ATTENTION) and self.before == 0:
            raise SpokeshaveError(
                f"TokenReducer: in front of block 0 there is no attention for {type(self.scorer).__name__}; "
                "choose a later block, or Learned(), Random() or Given()"
            )
        if isinstance(self.decision, Gumbel) and isinstance(self.scorer, (*ATTENTION, Given)):
            raise SpokeshaveError(
                f"TokenReducer: Gumbel() decides by probabilities, which {type(self.scorer).__name__} does not give; "
                "use Learned(), or decide by TopK or Threshold"
            )

    @property
    def stays(self) -> bool:
        """Whether tokens that are not kept stay in place."""
        return isinstance(self.rest, STAYING)

    @property
    def adaptive(self) -> bool:
        """Whether samples may keep different numbers of tokens."""
        return not isinstance(self.decision, TopK)
