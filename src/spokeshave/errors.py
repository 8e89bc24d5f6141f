"""The one exception that a user's mistake raises."""

from collections.abc import Iterator
from contextlib import contextmanager


class SpokeshaveError(Exception):
    """A mistake that the user can mend: one sentence saying what was wrong, where, and what would be right.

    The command line prints the sentence alone and leaves with exit code 2.
    """


def check_kind(what: str, thing: object, kinds: type | tuple[type, ...], right: str) -> None:
    """Raise SpokeshaveError unless `thing` is of one of the kinds; `right` says in words which.

    >>> check_kind("the method", 3, str, "a text")
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: the method must be a text, not of type int
    """
    if not isinstance(thing, kinds):
        found = "None" if thing is None else f"of type {type(thing).__name__}"
        raise SpokeshaveError(f"{what} must be {right}, not {found}")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Let a mistake that is found while the block runs begin with the name of what it was found in.

    >>> with naming("head.weight"):
    ...     raise SpokeshaveError("nothing is left")
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: head.weight: nothing is left
    """
    try:
        yield
    except SpokeshaveError as error:
        raise SpokeshaveError(f"{name}: {error}") from error
