"""A function in a process of its own, and what of that process is resident while it runs."""

import multiprocessing
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVERY = 0.1  # seconds between samples
POINTS = 240  # of a trace that is kept


@dataclass(frozen=True)
class Watched:
    """How a process ended, negative for a signal, and its resident bytes at so many seconds from its start."""

    exit_code: int
    seconds: tuple[float, ...]
    resident: tuple[int, ...]

    @property
    def most(self) -> int:
        """The largest sample."""
        return max(self.resident)

    def followed_by(self, other: "Watched") -> "Watched":
        """Both traces, one behind the other, nothing being resident between them."""
        end = self.seconds[-1]
        later = tuple(end + moment for moment in other.seconds)
        return Watched(other.exit_code, (*self.seconds, end, *later), (*self.resident, 0, *other.resident))

    def points(self) -> list[tuple[float, int]]:
        """The trace as pairs, to the tenth of a second."""
        return [(round(moment, 1), size) for moment, size in zip(self.seconds, self.resident, strict=True)]


def watched(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Watched:
    """Run the function in a fresh process (both must be picklable) and sample it until it ends; Linux alone."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    started, seconds, resident = time.perf_counter(), [0.0], [0]
    process.start()
    while process.is_alive():
        size = _resident(Path(f"/proc/{process.pid}/status"))
        if size is not None:
            seconds.append(time.perf_counter() - started)
            resident.append(size)
        process.join(EVERY)
    assert process.exitcode is not None
    return Watched(process.exitcode, tuple(seconds), tuple(resident))


def thinned(trace: Watched, points: int = POINTS) -> Watched:
    """At most about so many points: of each stretch of time its least and its most, in their order.

    >>> thinned(Watched(0, (0, 1, 2, 3), (5, 7, 6, 1)), 2)
    Watched(exit_code=0, seconds=(1, 3), resident=(7, 1))
    """
    count = len(trace.seconds)
    length = max(1, -(-2 * count // points))
    kept: list[int] = []
    for first in range(0, count, length):
        stretch = range(first, min(first + length, count))
        ends = {min(stretch, key=trace.resident.__getitem__), max(stretch, key=trace.resident.__getitem__)}
        kept += sorted(ends)
    pick = lambda values: tuple(values[place] for place in kept)  # noqa: E731
    return Watched(trace.exit_code, pick(trace.seconds), pick(trace.resident))


def _resident(status: Path) -> int | None:
    """Bytes, or None where the process has ended."""
    try:
        found = re.search(r"^VmRSS:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if found is None else int(found[1]) * 1024
