"""Words and tables of the page."""

from collections.abc import Iterable, Sequence

from spokeshave.report.figures import seconds

NOTHING = "(not measured yet)"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [heads, ["---"] * len(heads), *rows]
    drawn = ["| " + " | ".join(line) + " |" for line in lines]
    drawn[1] = drawn[1].replace(" ", "")
    return "\n".join(drawn)


def milliseconds(value: float | None) -> str:
    """A time that results hold in milliseconds."""
    return "-" if value is None else seconds(value / 1e3)


def compression_name(value: float) -> str:
    """
    >>> compression_name(1.0), compression_name(10.0)
    ('dense', '10x')
    """
    return "dense" if value == 1 else f"{value:g}x"


def thread_count(count: int) -> str:
    """
    >>> thread_count(1), thread_count(2)
    ('one thread', '2 threads')
    """
    return "one thread" if count == 1 else f"{count} threads"
