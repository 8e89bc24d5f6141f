"""One interleaved run: every contender runs once per round, so the machine's drift meets all alike."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from spokeshave.errors import SpokeshaveError

SLOT_SECONDS = 0.04
LEAST_ROUNDS = 3

Progress = Callable[[int, int, str], None]
"""Told how many steps are done, of how many, and what the last one was."""


Clock = Literal["wall", "processor"]
"""What seconds are: real time, or the time that this process had a processor.

Processor time leaves out what other programs took, so it is the better measure of one thread on a machine that is
shared; the times of several threads add up in it.
"""

CLOCKS: dict[Clock, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


@runtime_checkable
class OwnClock(Protocol):
    """A contender that times itself, because it runs in another process."""

    def timed(self, calls: int, clock: Clock) -> float:
        """Seconds of `calls` calls."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, median and quartiles over the rounds; `calls` is how many calls a round held."""

    name: str
    median_seconds: float
    lower_quartile: float
    upper_quartile: float
    rounds: int
    calls: int

    @property
    def spread(self) -> float:
        """Distance between the quartiles, relative to the median."""
        return (self.upper_quartile - self.lower_quartile) / self.median_seconds


@dataclass(frozen=True)
class Ratio:
    """How many times longer one contender takes than another: median and quartiles over the rounds."""

    median: float
    lower_quartile: float
    upper_quartile: float

    @property
    def spread(self) -> float:
        """Distance between the quartiles, relative to the median."""
        return (self.upper_quartile - self.lower_quartile) / self.median


@dataclass(frozen=True)
class InterleavedRun:
    """Seconds per call of every contender in every round, and how many calls a round held."""

    seconds: Mapping[str, tuple[float, ...]]
    calls: Mapping[str, int]

    def timing(self, name: str) -> Timing:
        """Median and quartiles of one contender."""
        lower, median, upper = _quartiles(self.seconds[name])
        return Timing(name, median, lower, upper, len(self.seconds[name]), self.calls[name])

    @property
    def timings(self) -> tuple[Timing, ...]:
        """Every contender, the fastest first."""
        return tuple(sorted(map(self.timing, self.seconds), key=lambda timing: timing.median_seconds))

    def fastest(self, names: Iterable[str]) -> str:
        """The one of `names` with the smallest median."""
        return min(names, key=lambda name: self.timing(name).median_seconds)

    def ratio(self, slow: str, fast: str) -> Ratio:
        """How many times longer `slow` takes than `fast`, round by round.

        >>> run = InterleavedRun({"a": (2.0, 6.0, 4.0), "b": (1.0, 2.0, 2.0)}, {"a": 1, "b": 1})
        >>> run.ratio("a", "b").median
        2.0
        """
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=True)
        lower, median, upper = _quartiles(tuple(numerator / denominator for numerator, denominator in pairs))
        return Ratio(median, lower, upper)


def interleave(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int = 15,
    slot_seconds: float = SLOT_SECONDS,
    rest_seconds: float = 0.0,
    progress: Progress | None = None,
    clock: Clock = "wall",
    most_seconds: float = math.inf,
) -> InterleavedRun:
    """Time all contenders side by side.

    In each round every contender has one slot of as many calls as fill `slot_seconds`, after one call that is
    not counted; who comes first changes from round to round; garbage is not collected meanwhile.
    `rest_seconds` of sleep before a slot let the worker threads of the previous contender stop spinning.
    No round begins `most_seconds` after the first, except that there are always three.
    Raises SpokeshaveError when there is nothing to time or fewer than three rounds.
    """
    if not contenders:
        raise SpokeshaveError("there is nothing to time: name at least one contender")
    if rounds < LEAST_ROUNDS:
        raise SpokeshaveError(f"{rounds} rounds give no quartiles; ask for at least {LEAST_ROUNDS}")
    calls = {name: _calls_per_slot(run, slot_seconds, clock) for name, run in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    end = time.perf_counter() + most_seconds
    with _no_garbage_collection():
        for index in range(rounds):
            if index >= LEAST_ROUNDS and time.perf_counter() > end:
                break
            for name in _rotated(list(contenders), index):
                time.sleep(rest_seconds)
                seconds[name].append(_slot(contenders[name], calls[name], clock))
            if progress:
                progress(index + 1, rounds, f"round {index + 1} of {rounds}")
    return InterleavedRun({name: tuple(values) for name, values in seconds.items()}, calls)


def _slot(run: Callable[[], Any], calls: int, clock: Clock) -> float:
    """Seconds per call; the call before the clock starts brings the contender's data back into the caches."""
    if isinstance(run, OwnClock):
        run.timed(1, clock)
        return run.timed(calls, clock) / calls
    run()
    now = CLOCKS[clock]
    start = now()
    for _ in range(calls):
        run()
    return (now() - start) / calls


def _calls_per_slot(run: Callable[[], Any], slot_seconds: float, clock: Clock) -> int:
    """Warm a contender up and see how many calls of it fill a slot."""
    once = min(_slot(run, 1, clock) for _ in range(3))
    return max(1, round(slot_seconds / max(once, 1e-9)))


def _rotated(names: list[str], by: int) -> list[str]:
    """
    >>> _rotated(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    start = by % len(names)
    return names[start:] + names[:start]


def _quartiles(values: tuple[float, ...]) -> tuple[float, float, float]:
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, median, upper


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
