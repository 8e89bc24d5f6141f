"""Runs that are stopped, and what they must end with."""

import pytest

from spokeshave.fit import resume_run, start_run
from spokeshave.fit.outcome import without_timings


class StoppedError(Exception):
    """What the watcher raises to end a run early."""


class Watcher:
    """Ends the run when it has heard `stop_after` events."""

    def __init__(self, stop_after=10**9):
        self.heard = []
        self.stop_after = stop_after

    def begin(self, title):
        self._hear(("begin", title))

    def advance(self, done):
        assert 0 <= done <= 1

    def epoch(self, record, last):
        self._hear(("epoch", record.phase, record.epoch, last))

    def finish(self, seconds):
        self._hear("finish")

    def _hear(self, event):
        self.heard.append(event)
        if len(self.heard) == self.stop_after:
            raise StoppedError


def assert_resumes(job, whole, result, parts):
    """Stopped after every third event, a run ends with the weights and figures of the `whole` one."""
    with pytest.raises(StoppedError):
        start_run(job, parts, observer=Watcher(3))
    for _ in range(20):
        try:
            resumed = resume_run(parts, Watcher(3))
            break
        except StoppedError:
            continue
    assert without_timings(resumed) == without_timings(result)
    for file in (whole / "checkpoints").iterdir():
        assert file.read_bytes() == (parts / "checkpoints" / file.name).read_bytes()
