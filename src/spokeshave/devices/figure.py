"""One number of a device, with where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

PREFIXES = (
    *((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")),
    *((1e-12, "p"), (1e-15, "f"), (1e-18, "a"), (1e-21, "z")),
)
UNSCALED = ("1", "mm2")


@dataclass(frozen=True)
class Figure:
    """One number of a device: `status` says whether its source was seen, recalled, or it was inferred."""

    value: float
    unit: str
    status: Literal["seen", "recalled", "inferred"]
    source: str

    def __str__(self) -> str:
        return f"{readable(self.value, self.unit)} ({self.status}: {self.source})"


@dataclass(frozen=True)
class Fact:
    """Something of a device that is no number, with the same marks."""

    value: str | bool
    status: Literal["seen", "recalled", "inferred"]
    source: str

    def __str__(self) -> str:
        told = self.value if isinstance(self.value, str) else "yes" if self.value else "no"
        return f"{told} ({self.status}: {self.source})"


def described(
    name: str, about: str, entries: Mapping[str, Figure | Fact], follows: Sequence[str], file: str
) -> str:
    """A modelled device for people to read: every entry with its source, what follows from them, and its file."""
    lines = [f"{key.replace('_', ' ')}: {entry}" for key, entry in entries.items()]
    return "\n".join([f"{name} (modelled): {about}", *lines, *follows, f"from {file}"])


def set_by_hand(figures: Mapping[str, Figure], values: Mapping[str, float]) -> dict[str, Figure]:
    """The figures with other values, marked as such."""
    changed = {
        key: replace(figures[key], value=value, status="inferred", source="set by hand")
        for key, value in values.items()
    }
    return {**figures, **changed}


def readable(value: float, unit: str) -> str:
    """
    >>> readable(34.1e9, "byte/s"), readable(5.2e-6, "s"), readable(0.142, "1"), readable(1.2e-5, "mm2")
    ('34.1 Gbyte/s', '5.2 µs', '0.142', '1.2e-05 mm2')
    """
    if unit in UNSCALED:
        return f"{value:.5g}" + ("" if unit == "1" else f" {unit}")
    size, prefix = next((entry for entry in PREFIXES if value >= entry[0]), PREFIXES[-1])
    return f"{value / size:.4g} {prefix}{unit}"
