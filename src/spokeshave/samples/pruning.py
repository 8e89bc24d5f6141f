"""How many training examples stay, when some are exchanged, and by which score."""

from dataclasses import dataclass
from math import floor

from spokeshave.errors import SpokeshaveError
from spokeshave.samples.scores import SCORES

PERIODS = 10  # of 300 epochs the authors let 30 pass between two exchanges
EXCHANGES = 5
ROUNDING = 1e-9  # 0.2 * 5 is 1, not a little less


@dataclass(frozen=True)
class ExamplePruning:
    """The example level of Tri-Level E-ViT (arXiv 2211.10801), in shares of all examples and in epochs.

    At first a random `1 - keep` is removed. After every `every` epochs, up to epoch `last`, the share `swap` with the
    lowest `score` since the last exchange is removed, and as many, drawn at random, of those removed earlier come
    back; so the number of examples never changes. Scores are `forgetting`, `loss`, `gradient_norm`, and the control,
    `random`.

    >>> ExamplePruning.for_epochs(300)
    ExamplePruning(keep=0.8, swap=0.05, every=30, last=150, score='forgetting')
    """

    keep: float = 0.8
    swap: float = 0.05
    every: int = 30
    last: int = 150
    score: str = "forgetting"

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise SpokeshaveError(
                f"ExamplePruning: keep is the share of examples that stays, above 0 and at most 1, not {self.keep!r}"
            )
        most = min(self.keep, 1 - self.keep)
        if not 0 <= self.swap <= most + ROUNDING:
            raise SpokeshaveError(
                f"ExamplePruning: swap must be from 0 to {most:g}, the smaller of what stays and what is removed at "
                f"keep {self.keep:g}, not {self.swap!r}"
            )
        whole = isinstance(self.every, int) and isinstance(self.last, int)
        if not whole or self.every < 1 or self.last < 0:
            raise SpokeshaveError(
                f"ExamplePruning: every must be at least 1 epoch and last at least 0, both whole, not "
                f"{self.every!r} and {self.last!r}"
            )
        if self.score not in SCORES:
            raise SpokeshaveError(
                f"ExamplePruning: there is no score {self.score!r}; known ones are {', '.join(SCORES)}"
            )

    @classmethod
    def for_epochs(
        cls, epochs: int, keep: float = 0.8, swap: float | None = None, score: str = "forgetting"
    ) -> "ExamplePruning":
        """The authors' schedule for 300 epochs, as parts of another number of epochs."""
        every = max(1, round(epochs / PERIODS))
        exchanged = min(0.05, keep, 1 - keep) if swap is None else swap
        return cls(keep, exchanged, every, min(EXCHANGES * every, max(0, epochs - 1)), score)

    def check_epochs(self, epochs: int) -> None:
        """Raises SpokeshaveError when exchanges are planned for after the training."""
        if self.swap and self.last >= epochs:
            raise SpokeshaveError(
                f"ExamplePruning: the last exchange, after epoch {self.last}, would do nothing in a training of "
                f"{epochs} epochs; choose last below {epochs}"
            )

    def removed(self, count: int) -> int:
        """How many of `count` examples are left out at any time.

        >>> ExamplePruning().removed(1_281_167), ExamplePruning().exchanged(1_281_167)
        (256233, 64058)
        """
        return floor((1 - self.keep) * count + ROUNDING)

    def exchanged(self, count: int) -> int:
        """How many examples go and come at each exchange."""
        return min(floor(self.swap * count + ROUNDING), self.removed(count))

    def exchanges_after(self, epoch: int) -> bool:
        """Whether examples are exchanged after this many epochs."""
        return epoch > 0 and epoch % self.every == 0 and epoch <= self.last
