"""Where data that does not ship with a package lies on this machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from spokeshave.errors import SpokeshaveError, check_kind

VARIABLE = "SPOKESHAVE_DATA"


def data_folder(name: str) -> Path:
    """The folder `name` in $SPOKESHAVE_DATA or in a `shared/data` beside the checkout.

    `shared/data` is looked for upward from the current folder and from the package. Raises
    SpokeshaveError when there is none.
    """
    for root in _roots():
        if (root / name).is_dir():
            return root / name
    raise SpokeshaveError(
        f"there is no folder {name} in {VARIABLE} ({os.environ.get(VARIABLE) or 'not set'}) "
        f"or in shared/data above {Path.cwd()}; put it there or set {VARIABLE} to the folder that holds it"
    )


def cache_folder() -> Path:
    """The user's cache folder: $XDG_CACHE_HOME/spokeshave or ~/.cache/spokeshave."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spokeshave"


def as_path(what: str, path: object) -> Path:
    """A path that a user gave; raises SpokeshaveError when it is none.

    >>> as_path("a plan's file", None)
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: a plan's file must be a path, not None
    """
    check_kind(what, path, (str, os.PathLike), "a path")
    return Path(path)  # type: ignore[arg-type]


def _roots() -> Iterator[Path]:
    if os.environ.get(VARIABLE):
        yield Path(os.environ[VARIABLE])
    for start in (Path.cwd(), Path(__file__).resolve()):
        for folder in (start, *start.parents):
            yield folder / "shared" / "data"
