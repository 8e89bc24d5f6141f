"""A run on disk: recipe, plan, progress and checkpoints, whole at every moment.

    recipe.yaml  plan.yaml  state.json  checkpoints/*.safetensors  deployment/  result.json  report.html

`state.json` is the truth: a checkpoint counts from the moment the state names it, and files that it does not
name are leftovers. Every file is written under another name in the same folder, flushed, and then renamed.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from spokeshave.atomic import write_atomically
from spokeshave.errors import SpokeshaveError
from spokeshave.fit.state import State

RECIPE, PLAN, STATE, RESULT, REPORT = "recipe.yaml", "plan.yaml", "state.json", "result.json", "report.html"
CHECKPOINTS, DEPLOYMENT, LOCK = "checkpoints", "deployment", ".lock"


@dataclass(frozen=True)
class RunFolder:
    """A run folder that exists; make one with `create_run` or `open_run`."""

    path: Path

    def read_text(self, name: str) -> str:
        """Contents of a text file of the run; raises SpokeshaveError when it is missing or unreadable."""
        try:
            return (self.path / name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SpokeshaveError(
                f"the run {self.path} is damaged: {name} cannot be read ({error})"
            ) from error

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the run, whole or not at all; raises SpokeshaveError when the disk refuses."""
        try:
            (self.path / name).parent.mkdir(exist_ok=True)
            write_atomically(self.path / name, content)
        except OSError as error:
            raise self.refused(name, error) from error

    def refused(self, name: str, error: OSError) -> SpokeshaveError:
        """The sentence for a write that the system refused (a full disk, a read-only folder)."""
        reason = (error.strerror or str(error)).lower()
        remedy = f"the run is valid up to its last step; make room, then: spokeshave fit --resume {self.path}"
        return SpokeshaveError(f"could not write {self.path / name}: {reason}; {remedy}")

    def read_state(self) -> State:
        """How far the run has come."""
        try:
            return State.from_json(json.loads(self.read_text(STATE)))
        except (ValueError, KeyError, TypeError) as error:
            raise SpokeshaveError(
                f"the run {self.path} is damaged: {STATE} cannot be understood ({error})"
            ) from error

    def write_state(self, state: State) -> None:
        """Record progress, then drop the checkpoints that it no longer names."""
        self.write(STATE, json.dumps(state.to_json(), indent=1))
        self._drop_checkpoints(keep=state.checkpoints())

    def _drop_checkpoints(self, keep: frozenset[str]) -> None:
        for path in (self.path / CHECKPOINTS).glob("*"):
            if f"{CHECKPOINTS}/{path.name}" not in keep:
                path.unlink()

    @property
    def finished(self) -> bool:
        """Whether the run has reached its end."""
        return (self.path / RESULT).is_file() and self.read_state().finished

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the system lets go of the lock of a process that was killed.

        Raises SpokeshaveError naming the process that holds it.
        """
        with self._lock_file() as lock:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = lock.read().strip()
                raise SpokeshaveError(
                    f"the run {self.path} is being worked on by process {holder}"
                ) from error
            lock.truncate(0)
            with contextlib.suppress(
                OSError
            ):  # the number is a courtesy to whoever waits; a full disk may refuse it
                lock.write(str(os.getpid()))
                lock.flush()
            self._drop_leftovers()
            yield

    def _lock_file(self) -> TextIO:
        try:
            lock = (self.path / LOCK).open("a+")
        except OSError as error:
            raise self.refused(LOCK, error) from error
        lock.seek(0)
        return lock

    def _drop_leftovers(self) -> None:
        """Remove what a killed process was in the middle of writing."""
        for path in [*self.path.glob(".*"), *(self.path / CHECKPOINTS).glob(".*")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink(missing_ok=True)


def check_run_folder(path: Path, replace: bool = False) -> None:
    """Raise SpokeshaveError unless `path` is new, empty, or with `replace` a run."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not path.is_dir():
        raise SpokeshaveError(f"{path} is a file; name a new folder for the run")
    if not is_run(path):
        raise SpokeshaveError(f"{path} holds something else than a run; name a new or empty folder")
    if not replace:
        raise SpokeshaveError(
            f"{path} holds a run already; name a new folder, or go on with it: spokeshave fit --resume {path}"
        )


def is_run(path: Path) -> bool:
    """Whether a folder is a run folder."""
    return (path / STATE).is_file() and (path / RECIPE).is_file()


def create_run(path: Path, files: Mapping[str, str], state: State, replace: bool = False) -> RunFolder:
    """Make a run folder that holds `files` and a first state; it appears whole or not at all."""
    check_run_folder(path, replace)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as temporary:
            whole = Path(temporary) / "run"
            whole.mkdir()
            for name, content in {**files, STATE: json.dumps(state.to_json())}.items():
                write_atomically(whole / name, content)
            if path.exists():
                path.rename(Path(temporary) / "old")
            whole.rename(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpokeshaveError(
            f"could not make the run folder {path}: {reason}; nothing was written"
        ) from error
    return RunFolder(path)


def open_run(path: Path) -> RunFolder:
    """The run at `path`; raises SpokeshaveError when there is none."""
    if not is_run(path):
        raise SpokeshaveError(f"there is no run in {path}; start one with `spokeshave fit --output {path}`")
    return RunFolder(path)
