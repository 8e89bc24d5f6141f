"""One number of a device, with where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from spokeshave.errors import SpokeshaveError

PREFIXES = (
    *((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")),
    *((1e-12, "p"), (1e-15, "f"), (1e-18, "a"), (1e-21, "z")),
)
UNSCALED = ("1", "mm2")
SMALLEST, LARGEST = 1e-30, 1e30  # in SI units: beyond lie slips of the pen, and models overflow
MOST_SHOWN = 40  # characters of a wrong value


@dataclass(frozen=True)
class Bounds:
    """What one number of a kind of device may be: at least `least` (None: above 0), at most `most`, perhaps whole."""

    unit: str = "1"
    least: float | None = None
    most: float = LARGEST
    whole: bool = False

    def wrong(self, value: object) -> str | None:
        """What it must be and is not, or None."""
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        if self.whole:
            least = self.least or 0
            if number is not None and least <= number <= self.most and number == int(number):
                return None
            return f"must be a whole number from {least:.0f} to {self.most:.0f}, not {told(value)}"
        if number is None or not (number > 0 if self.least is None else self.least <= number):
            wanted = "a positive number" if self.least is None else f"a number of at least {self.least:g}"
            return f"must be {wanted}, not {told(value)}"
        if number and not SMALLEST <= number <= LARGEST:
            return f"must be between {SMALLEST:g} and {LARGEST:g} {self.unit}, not {told(value)}"
        return None if number <= self.most else f"must be at most {self.most:g}, not {told(value)}"


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


def set_by_hand(
    name: str, figures: Mapping[str, Figure], values: Mapping[str, float], bounds: Mapping[str, Bounds]
) -> dict[str, Figure]:
    """The figures of a device with other values, marked as such.

    Raises SpokeshaveError for a figure that the device does not have, and for a value that its file could not have.
    """
    for key, value in values.items():
        if key not in figures:
            raise SpokeshaveError(f"{name} has no figure {key!r}; it has {', '.join(figures)}")
        if (wrong := bounds[key].wrong(value)) is not None:
            raise SpokeshaveError(f"{name}: {key} {wrong}")
    return by_hand(figures, values)


def by_hand(figures: Mapping[str, Figure], values: Mapping[str, float]) -> dict[str, Figure]:
    """The figures with other values, marked as such and not looked at."""
    changed = {
        key: replace(figures[key], value=value, status="inferred", source="set by hand")
        for key, value in values.items()
    }
    return {**figures, **changed}


def told(value: object) -> str:
    """A value as it stands in a file, cut where it is long."""
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}..."


def readable(value: float, unit: str) -> str:
    """
    >>> readable(34.1e9, "byte/s"), readable(5.2e-6, "s"), readable(0.142, "1"), readable(1.2e-5, "mm2")
    ('34.1 Gbyte/s', '5.2 µs', '0.142', '1.2e-05 mm2')
    """
    if unit in UNSCALED:
        return f"{value:.5g}" + ("" if unit == "1" else f" {unit}")
    size, prefix = next((entry for entry in PREFIXES if value >= entry[0]), PREFIXES[-1])
    return f"{value / size:.4g} {prefix}{unit}"
