"""The option for lengths that change from call to call."""

from typing import Annotated

import typer

from spokeshave.errors import SpokeshaveError

Lengths = Annotated[
    list[str] | None,
    typer.Option(
        "--dynamic",
        help="Axes whose length may change, up to the example's: ids:1,mask:1 (input:axis, inputs by name, pattern or "
        "position). Once for each length where there are several: tokens=ids:1 and past=cache_*:2.",
    ),
]


def parse_lengths(texts: list[str] | None) -> dict[str, dict[str | int, int]]:
    """Input and axis, by length.

    >>> parse_lengths(["ids:1,1:2"])
    {'length': {'ids': 1, 1: 2}}
    >>> parse_lengths(["tokens=ids:1", "past=cache_*:2"])
    {'tokens': {'ids': 1}, 'past': {'cache_*': 2}}
    """
    lengths: dict[str, dict[str | int, int]] = {}
    for text in texts or ():
        name, _, axes = text.rpartition("=")
        if (name or "length") in lengths:
            raise SpokeshaveError(f"--dynamic {text}: name every length once, as in tokens=ids:1,mask:1")
        lengths[name or "length"] = dict(_axis(part, text) for part in axes.split(","))
    return lengths


def _axis(part: str, text: str) -> tuple[str | int, int]:
    name, _, axis = part.rpartition(":")
    if not name or not axis.isdecimal():
        raise SpokeshaveError(f"--dynamic {text}: {part!r} is not an input and its axis, such as ids:1")
    return int(name) if name.isdecimal() else name, int(axis)
