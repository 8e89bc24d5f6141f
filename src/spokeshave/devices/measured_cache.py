"""What was measured on this CPU, kept on disk by everything that it hangs on, so that nothing is timed twice."""

import json
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import torch

from spokeshave.compiler.build import find_compiler
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder

Entry = dict[str, Any]
Made = TypeVar("Made")


def kept(kind: str, key: Entry, read: Callable[[Entry], Made], make: Callable[[], Entry]) -> Made:
    """What `read` finds in the entry of a key, which is made first where there is none, or one that cannot be read.

    Entries are JSON files in the folder `kind` of the user's cache folder. `key` is plain data, all that the
    measurement hangs on. Raises SpokeshaveError where the folder cannot be written.
    """
    key = json.loads(json.dumps(key))
    digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / kind / f"{digest}.json"
    try:
        entry = json.loads(path.read_text())
        if entry["key"] == key:
            return read(entry)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    entry = {"key": key, **make()}
    _write(path, entry)
    return read(entry)


def of_the_code() -> Entry:
    """What every time of generated code hangs on: a part of each key."""
    return {
        "compiler": find_compiler().version,
        "kernels": kernel_digest(),
        "torch": torch.__version__,
    }


@cache
def kernel_digest() -> str:
    """Digest of the compiler's own source: other kernels take other times."""
    folder = Path(str(files("spokeshave.compiler")))
    digest = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".toml", ".c", ".h")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _write(path: Path, entry: Entry) -> None:
    """Write beside and rename, so that another process never reads half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as file:
            json.dump(entry, file)
        Path(file.name).replace(path)
    except OSError as error:
        raise SpokeshaveError(f"cannot write the cache file {path}: {error.strerror}") from error
