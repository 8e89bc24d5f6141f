"""How a run tells what it is doing to whoever watches."""

from typing import Protocol

from spokeshave.fit.state import EpochRecord


class Observer(Protocol):
    """Hears of every step, epoch and batch; prints, draws bars, or does nothing."""

    def begin(self, title: str) -> None:
        """A step begins."""

    def advance(self, done: float) -> None:
        """This share of the step, between 0 and 1, is done."""

    def epoch(self, record: EpochRecord, last: int) -> None:
        """An epoch, of `last` in its phase, is completed."""

    def finish(self, seconds: float) -> None:
        """The step is completed."""


class Silent:
    """An observer that does nothing."""

    def begin(self, title: str) -> None:
        """Do nothing."""

    def advance(self, done: float) -> None:
        """Do nothing."""

    def epoch(self, record: EpochRecord, last: int) -> None:
        """Do nothing."""

    def finish(self, seconds: float) -> None:
        """Do nothing."""
