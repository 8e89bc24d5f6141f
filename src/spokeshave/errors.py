"""The one exception that a user's mistake raises."""

from collections.abc import Iterator
from contextlib import contextmanager


class SpokeshaveError(Exception):
    """A mistake that the user can mend: one sentence saying what was wrong, where, and what would be right.

    The command line prints the sentence alone and leaves with exit code 2.
    """


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
