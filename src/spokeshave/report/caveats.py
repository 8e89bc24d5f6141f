"""What a reader of modelled costs must know beside them: layers in float32 or not counted, and missed budgets."""

from collections.abc import Iterable, Sequence
from typing import Any


def caveats(result: dict[str, Any]) -> list[str]:
    """A sentence each, of a run on a modelled device; none where nothing is to be said."""
    floats = (
        [f"Float32 there: {', '.join(layer for layer, _ in result['float32'])}."] if result["float32"] else []
    )
    return [*floats, *left_out(result["cost"]), *result["short_of_budget"]]


def left_out(cost: dict[str, Any]) -> list[str]:
    """Which layers the figures of a cost do not hold, and why.

    >>> left_out({"left_out": [["a", "not binary"], ["b", "not binary"], ["a", "not binary"]]})
    ['Not counted: a, b (not binary).']
    """
    return [
        f"Not counted: {', '.join(layers)} ({reason})."
        for reason, layers in _by_reason(cost["left_out"]).items()
    ]


def _by_reason(entries: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for layer, reason in entries:
        layers = found.setdefault(reason, [])
        if layer not in layers:
            layers.append(layer)
    return found
