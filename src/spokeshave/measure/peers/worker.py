"""A peer in a process of its own, for runtimes whose packages clash with ours.

The worker is a script that is started as `python SCRIPT FOLDER THREADS`. The folder holds the network, converted as the
peer needs it, and its inputs, `input_0.npy` and so on. Worker and parent exchange one line of JSON at a time:

    worker  {"ready": true, "version": "1.2"}     or  {"error": "why not"}, after which it ends
    parent  {"run": 7, "clock": "wall"}           worker  {"seconds": 0.123}, all calls together
    parent  {"outputs": "FOLDER"}                 worker  {"saved": 2}: output_0.npy and output_1.npy

Between its turns a worker is stopped, as job control stops a program: threads of some runtimes look out for work for a
long time after a call, and would take the processors from whoever is timed next.
"""

import json
import signal
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spokeshave.measure.interleave import Clock
from spokeshave.measure.peers.peer import PeerError, Task

READY_SECONDS = 300.0


class PeerLateError(PeerError):
    """A peer that was not ready in time."""


class WorkerRun:
    """Runs a worker's network; its clock is read inside the worker, so the pipe costs nothing.

    Raises PeerLateError where the worker, which may convert the network first, is not ready after `ready_seconds`.
    """

    def __init__(self, command: Sequence[str], task: Task, ready_seconds: float = READY_SECONDS) -> None:
        for position, tensor in enumerate(task.inputs):
            np.save(task.folder / f"input_{position}.npy", tensor.numpy())
        self._process = subprocess.Popen(
            [*command, str(task.folder), str(task.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        weakref.finalize(self, self._process.kill)  # nobody else would wake it, nor close what it reads
        self.version: str = self._first_answer(ready_seconds)["version"]

    def __call__(self) -> list[np.ndarray]:
        """The outputs."""
        with tempfile.TemporaryDirectory() as folder:
            count = self._ask({"outputs": folder})["saved"]
            return [np.load(Path(folder) / f"output_{index}.npy") for index in range(count)]

    def timed(self, calls: int, clock: Clock = "wall") -> float:
        """Seconds of `calls` calls."""
        return float(self._ask({"run": calls, "clock": clock})["seconds"])

    def close(self) -> None:
        """End the worker: it ends when it has no more to read."""
        self._process.send_signal(signal.SIGCONT)
        self._process.communicate()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError("its process ended") from None
        return self._answer()

    def _first_answer(self, seconds: float) -> dict[str, Any]:
        limit = threading.Timer(seconds, self._process.kill)
        limit.start()
        try:
            return self._answer()
        except PeerError:
            if limit.is_alive():
                raise
            raise PeerLateError(
                f"it had not converted and loaded the network after {seconds:g} seconds"
            ) from None
        finally:
            limit.cancel()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"its process ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            self._process.wait()
            raise PeerError(answer["error"])
        self._process.send_signal(signal.SIGSTOP)
        return answer
