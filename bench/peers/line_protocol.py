"""The worker's side of `spokeshave.measure.peers.worker`: standard library and numpy only, for any environment."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Sequence[np.ndarray]]
Load = Callable[[Path, list[np.ndarray], int], tuple[Run, str]]

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def serve(load: Load) -> None:
    """Load the network of the folder that the command line names, then answer until there is no more to read.

    `load(folder, inputs, threads)` returns what runs the network and the runtime's version.
    """
    answers = _take_standard_output()
    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    try:
        run, version = load(folder, _inputs(folder), threads)
        run()
    except Exception as failure:
        _say(answers, {"error": f"{type(failure).__name__}: {(str(failure).splitlines() or [''])[0]}"})
        return
    _say(answers, {"ready": True, "version": version})
    for line in sys.stdin:
        question = json.loads(line)
        _say(
            answers,
            _saved(run(), question["outputs"])
            if "outputs" in question
            else _timed(run, question["run"], CLOCKS[question["clock"]]),
        )


def _timed(run: Run, calls: int, now: Callable[[], float]) -> dict[str, Any]:
    start = now()
    for _ in range(calls):
        run()
    return {"seconds": now() - start}


def _saved(outputs: Sequence[np.ndarray], folder: str) -> dict[str, Any]:
    for index, array in enumerate(outputs):
        np.save(Path(folder) / f"output_{index}.npy", array)
    return {"saved": len(outputs)}


def _inputs(folder: Path) -> list[np.ndarray]:
    count = len(list(folder.glob("input_*.npy")))
    return [np.load(folder / f"input_{index}.npy") for index in range(count)]


def _take_standard_output() -> Any:
    """Keep the pipe for answers alone: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
