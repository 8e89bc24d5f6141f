"""`kill -9` at any moment: the resumed run ends with the same weights and figures as one left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spokeshave.fit.outcome import without_timings

KILLS_BY_CLOCK = 20
SERVER = Path(__file__).with_name("fork_server.py")
pytestmark = pytest.mark.slow


class Server:
    """Runs the command line in real processes of its own."""

    def __init__(self, log: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
        )

    def run(self, arguments: list[str], kill_after: float | None = None, kill_at_flush: int = 0) -> int:
        """Exit status of a process that is killed so many seconds after its start, or at so many flushes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([arguments, kill_at_flush]), file=self._process.stdin, flush=True)
        process = int(self._process.stdout.readline())
        timer = (
            threading.Timer(kill_after, os.kill, (process, signal.SIGKILL))
            if kill_after is not None
            else None
        )
        if timer is not None:
            timer.start()
        status = int(self._process.stdout.readline())
        if timer is not None:
            timer.cancel()
        return status

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def folder(shared_recipe):
    return shared_recipe.parent


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder / "log")
    yield server
    server.close()


@pytest.fixture(scope="module")
def whole(server, folder):
    """An uninterrupted run, and its seconds when the compiler's cache is warm."""
    for name in ("first", "whole"):
        started = time.perf_counter()
        assert server.run(_start(folder / name)) == 0, (folder / "log").read_text()
    return folder / "whole", time.perf_counter() - started


def test_kills_by_the_clock(server, folder, whole):
    """Every process is killed at a random moment; finished runs are compared, and another is begun."""
    complete, seconds = whole
    chance, kills, finished = random.Random(2108), 0, 0
    while kills < KILLS_BY_CLOCK or not finished:
        run = folder / f"run{finished}"
        enough = kills >= KILLS_BY_CLOCK
        status = server.run(_go_on(run), kill_after=None if enough else chance.uniform(0.02, 0.5) * seconds)
        kills += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL), (folder / "log").read_text()
        if status == 0:
            _assert_equal(run, complete)
            finished += 1


def test_kills_between_writing_and_renaming(server, folder, whole):
    """Every process dies with a file half-way to the disk, each a few files further than the last."""
    run, flush, kills = folder / "run", 1, 0
    while server.run(_go_on(run), kill_at_flush=flush) == -signal.SIGKILL:
        flush, kills = flush % 9 + 1, kills + 1
        assert kills < 200, (folder / "log").read_text()
    assert kills >= 5
    _assert_equal(run, whole[0])


def _start(run: Path) -> list[str]:
    return [
        "fit",
        "--recipe",
        str(run.parent / "recipe.yaml"),
        "--threads",
        "1",
        "--output",
        str(run),
        "--json",
    ]


def _go_on(run: Path) -> list[str]:
    return ["fit", "--resume", str(run), "--json"] if run.exists() else _start(run)


def _assert_equal(run: Path, whole: Path) -> None:
    results = [json.loads((folder / "result.json").read_text()) for folder in (run, whole)]
    assert without_timings(results[0]) == without_timings(results[1])
    names = {path.name for path in (whole / "checkpoints").iterdir()}
    assert {path.name for path in (run / "checkpoints").iterdir()} == names
    for name in names:
        assert (run / "checkpoints" / name).read_bytes() == (whole / "checkpoints" / name).read_bytes()
    assert not [path for path in run.parent.iterdir() if path.name.startswith(f".{run.name}-deployment")]
