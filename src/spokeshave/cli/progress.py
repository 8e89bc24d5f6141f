"""Progress of a run on stderr: bars on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spokeshave.fit.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from spokeshave.fit.state import EpochRecord


@contextmanager
def observer() -> Iterator[Observer]:
    """The observer that suits stderr."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bars(progress)


class Lines:
    """A line for every step and every epoch."""

    def __init__(self) -> None:
        self._title = ""

    def begin(self, title: str) -> None:
        """Remember the step."""
        self._title = title

    def advance(self, done: float) -> None:
        """Print nothing: a log needs no percentages."""

    def epoch(self, record: "EpochRecord", last: int) -> None:
        """Print the epoch."""
        _print(
            f"{self._title}: epoch {record.epoch + 1} of {last}, {describe(record)}, {record.seconds:.1f} s"
        )

    def finish(self, seconds: float) -> None:
        """Print how long the step took."""
        _print(f"{self._title}: done in {seconds:.1f} s")


class Bars:
    """A bar for every step."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, title: str) -> None:
        """Start the step's bar."""
        self._task = self._progress.add_task(title, total=1.0, note="")

    def advance(self, done: float) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=done)

    def epoch(self, record: "EpochRecord", last: int) -> None:
        """Show the epoch beside the bar."""
        if self._task is not None:
            self._progress.update(self._task, note=f"{record.epoch + 1}/{last}  {describe_briefly(record)}")

    def finish(self, seconds: float) -> None:
        """Fill the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=1.0)
            self._progress.stop_task(self._task)


def describe(record: "EpochRecord") -> str:
    """`loss 0.123, accuracy 98.61 %, residual 0.041, dual 0.012` of an epoch."""
    residual = "" if record.residual is None else f", residual {record.residual:.3f}"
    residual += "" if record.dual_residual is None else f", dual {record.dual_residual:.3f}"
    examples = "" if record.examples is None else f", {record.examples} examples"
    return f"loss {record.loss:.3f}, accuracy {record.accuracy:.2%}{residual}{examples}"


def describe_briefly(record: "EpochRecord") -> str:
    """`loss 0.12  98.6 %  residual 0.04` of an epoch, so that a bar fits beside it on a narrow terminal."""
    residual = "" if record.residual is None else f"  residual {record.residual:.2f}"
    return f"loss {record.loss:.2f}  {100 * record.accuracy:.1f} %{residual}"


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
