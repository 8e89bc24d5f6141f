"""How far an output folder has come: a small state file, calibration states, and a lock."""

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spokeshave.atomic import write_atomically
from spokeshave.errors import SpokeshaveError

FOLDER, STATE, LOCK, NORMED = "unfinished", "state.json", "lock", "normed.float32"


@dataclass(frozen=True)
class ProgressFolder:
    """An unfinished run. `layers`: the records of those that are whole on disk."""

    path: Path
    task: dict[str, Any]
    layers: list[dict[str, Any]]

    def state_files(self, layer: int) -> tuple[Path, Path, Path]:
        """Files of the states before a layer, behind it, and as its experts read them."""
        before, behind = (self.path / f"states-{number}.float32" for number in (layer, layer + 1))
        return before, behind, self.path / NORMED

    def finish_layer(self, record: dict[str, Any]) -> None:
        """Record a layer whose shard and states are on the disk, and drop the states before it."""
        self.layers.append(record)
        self.save()
        self.state_files(len(self.layers) - 1)[0].unlink(missing_ok=True)

    def save(self) -> None:
        """Write the state file."""
        document = {"task": self.task, "layers": self.layers}
        write_atomically(self.path / STATE, json.dumps(document))

    def remove(self) -> None:
        """Remove the folder of a run that is whole, the state last."""
        for path in sorted(self.path.iterdir(), key=lambda path: path.name == STATE):
            path.unlink()
        self.path.rmdir()


@contextlib.contextmanager
def open_progress(output: Path, task: dict[str, Any]) -> Iterator[ProgressFolder]:
    """Begin in a new or empty folder, or go on where the same task has stopped; the folder is this process's own.

    Raises SpokeshaveError where the folder holds something else, another task, or another process's work.
    """
    path = output / FOLDER
    begun = (path / STATE).is_file()
    if not begun and output.exists() and any(entry.name != FOLDER for entry in _entries(output)):
        raise SpokeshaveError(f"{output} holds something already; name a new or empty folder")
    path.mkdir(parents=True, exist_ok=True)
    with (path / LOCK).open("a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SpokeshaveError(f"{output} is being worked on by another process") from error
        run = ProgressFolder(path, task, _layers(path, task) if begun else [])
        if not begun:
            run.save()
        yield run


def _layers(path: Path, task: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        document = json.loads((path / STATE).read_text())
        before, layers = dict(document["task"]), [dict(record) for record in document["layers"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SpokeshaveError(f"{path / STATE} is damaged; remove {path.parent} and begin again") from error
    changed = sorted(key for key in task if before.get(key) != task[key])
    if changed:
        raise SpokeshaveError(
            f"{path.parent} was begun with another {' and '.join(changed)}; "
            "give the same again to go on, or name a new folder"
        )
    return layers


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise SpokeshaveError(f"{folder} is a file; name a new folder")
    return list(folder.iterdir())
