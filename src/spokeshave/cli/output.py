"""What the verbs print: one JSON document for machines, tables for people."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 120

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
]


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(document, indent=1))


def console() -> "Console":
    """The console of stdout; where it is no terminal, lines are wide enough for every table."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def check_output_file(path: Path, suffixes: tuple[str, ...]) -> None:
    """Raise SpokeshaveError, before any work is done, unless a file of such a kind can be written under this name."""
    if path.is_dir():
        raise SpokeshaveError(f"{path} is a folder; name a file in it, such as {path / f'mine{suffixes[0]}'}")
    if path.suffix not in suffixes:
        raise SpokeshaveError(f"{path} must end in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise SpokeshaveError(f"there is no folder {path.parent} to write {path.name} to")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell in one sentence that a file cannot be written, and why."""
    try:
        yield
    except OSError as failure:
        raise SpokeshaveError(f"{path} cannot be written: {failure.strerror}") from failure
