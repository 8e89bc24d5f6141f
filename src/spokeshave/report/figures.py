"""Numbers as people read them: three significant figures and a unit."""

from collections.abc import Mapping, Sequence
from typing import Any

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_ENERGIES = tuple(
    (10.0 ** (-3 * power), f"{prefix}J") for power, prefix in enumerate(("", "m", "µ", "n", "p", "f", "a"))
)
_COUNTS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def seconds(value: float | None) -> str:
    """
    >>> seconds(0.00123), seconds(75.2), seconds(None)
    ('1.23 ms', '75.2 s', '-')
    """
    return _scaled(value, _TIMES)


def joules(value: float | None) -> str:
    """
    >>> joules(4.2e-6), joules(1.5e-17), joules(None)
    ('4.2 µJ', '15 aJ', '-')
    """
    return _scaled(value, _ENERGIES)


def plain(value: float) -> str:
    """
    >>> plain(0.05), plain(1000.0), plain(1e-3)
    ('0.05', '1000', '0.001')
    """
    return f"{value:g}"


def count(value: float | None) -> str:
    """
    >>> count(852_000), count(12), count(1_234_567_890)
    ('852 k', '12', '1.23 G')
    """
    return _scaled(value, _COUNTS)


def percent(value: float | None, digits: int = 2) -> str:
    """
    >>> percent(0.93391), percent(0.125, 0)
    ('93.39 %', '12 %')
    """
    return "-" if value is None else f"{value * 100:.{digits}f} %"


def examples(epochs: Sequence[Mapping[str, Any]]) -> str:
    """How many examples each epoch was trained on, where some were left out.

    >>> examples([{"phase": "dense", "examples": 80}, {"phase": "dense", "examples": 80}])
    ' Examples used: 80, 80.'
    >>> examples([{"phase": "dense", "examples": None}])
    ''
    """
    used = [f"{epoch['examples']:,}" for epoch in epochs if epoch.get("examples") is not None]
    return f" Examples used: {', '.join(used)}." if used else ""


def times(value: float | None) -> str:
    """
    >>> times(4.567), times(12.34)
    ('4.57x', '12.3x')
    """
    return "-" if value is None else f"{_three_figures(value)}x"


def shape(sizes: Sequence[int]) -> str:
    """
    >>> shape((64, 3, 3, 3))
    '64 x 3 x 3 x 3'
    """
    return " x ".join(map(str, sizes))


def _scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    if value is None:
        return "-"
    size, unit = next((entry for entry in units if abs(value) >= entry[0]), units[-1])
    return f"{_three_figures(value / size)} {unit}".strip()


def _three_figures(value: float) -> str:
    """
    >>> _three_figures(0.1234), _three_figures(12.0), _three_figures(345.6)
    ('0.123', '12', '346')
    """
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
