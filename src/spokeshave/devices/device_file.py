"""TOML file -> modelled device; a mistake is told with file, line and key."""

import tomllib
from pathlib import Path
from typing import Any

from spokeshave.devices.roofline import DENSE, Figure, RooflineDevice
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.registry import SCHEMES

UNITS = {
    "peak": "flop/s",
    "bandwidth": "byte/s",
    "cache": "byte",
    "launch": "s",
    "value_size": "byte",
    "power": "W",
    "efficiency": "1",
}
OPTIONAL = ("power",)
TEXTS = ("name", "about")
STATUSES = ("seen", "recalled", "inferred")
FIELDS = ("value", "unit", "status", "source")


def read_device(path: Path) -> RooflineDevice:
    """Read a device's figures; raises SpokeshaveError when the file is not there or says something else.

    The file has `name`, `about` and the tables `peak`, `bandwidth`, `cache`, `launch`, `value_size`,
    `efficiency.<scheme>` (`efficiency.dense` among them) and, if it is known, `power`. Every figure has
    `value`, `unit`, `status` and `source`.
    """
    return _Reader(path).device()


class _Reader:
    """One file, and where in it each key stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text(encoding="utf-8")
            self.document = tomllib.loads(self.text)
        except (OSError, UnicodeDecodeError) as error:
            raise SpokeshaveError(f"the device file {path} cannot be read: {_reason(error)}") from error
        except tomllib.TOMLDecodeError as error:
            raise SpokeshaveError(f"{path} is not TOML: {error}") from error

    def device(self) -> RooflineDevice:
        known = [*TEXTS, *UNITS]
        self._check_keys((), self.document, known, [key for key in known if key not in OPTIONAL])
        for key in TEXTS:
            if not isinstance(self.document[key], str) or not self.document[key]:
                raise self._mistake((key,), "must be a text")
        return RooflineDevice(
            name=self.document["name"],
            about=self.document["about"],
            peak=self._figure(("peak",)),
            bandwidth=self._figure(("bandwidth",)),
            cache=self._figure(("cache",)),
            launch=self._figure(("launch",)),
            value_size=self._figure(("value_size",)),
            efficiency=self._efficiency(),
            power=self._figure(("power",)) if "power" in self.document else None,
            file=self.path.name,
        )

    def _efficiency(self) -> dict[str, Figure]:
        table = self._table(("efficiency",))
        self._check_keys(("efficiency",), table, [DENSE, *SCHEMES], [DENSE])
        figures = {name: self._figure(("efficiency", name)) for name in table}
        for name, figure in figures.items():
            if figure.value > 1:
                raise self._mistake(("efficiency", name, "value"), f"must be at most 1, not {figure.value}")
        return figures

    def _figure(self, keys: tuple[str, ...]) -> Figure:
        table, unit = self._table(keys), UNITS[keys[0]]
        self._check_keys(keys, table, list(FIELDS), list(FIELDS))
        value = table["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise self._mistake((*keys, "value"), f"must be a positive number, not {value!r}")
        if table["unit"] != unit:
            raise self._mistake((*keys, "unit"), f"must be {unit!r}, not {table['unit']!r}")
        if table["status"] not in STATUSES:
            raise self._mistake(
                (*keys, "status"), f"must be one of {', '.join(STATUSES)}, not {table['status']!r}"
            )
        if not isinstance(table["source"], str) or not table["source"].strip():
            raise self._mistake((*keys, "source"), "must say where the figure comes from")
        return Figure(float(value), unit, table["status"], table["source"])

    def _table(self, keys: tuple[str, ...]) -> dict[str, Any]:
        found: Any = self.document
        for key in keys:
            found = found[key]
        if not isinstance(found, dict):
            raise self._mistake(keys, "must be a table")
        return found

    def _check_keys(
        self, keys: tuple[str, ...], table: dict[str, Any], known: list[str], needed: list[str]
    ) -> None:
        for key in table:
            if key not in known:
                raise self._mistake((*keys, key), f"is not known here; known keys are {', '.join(known)}")
        for key in needed:
            if key not in table:
                raise self._mistake(keys, f"lacks {key!r}" if keys else f"the device lacks {key!r}")

    def _mistake(self, keys: tuple[str, ...], what: str) -> SpokeshaveError:
        name = f"{'.'.join(keys)} " if keys else ""
        return SpokeshaveError(f"{self.path}, line {line_of(self.text, keys)}: {name}{what}")


def line_of(text: str, keys: tuple[str, ...]) -> int:
    """The line on which a key, or the nearest table that would hold it, stands; 1 for the whole file.

    >>> line_of('a = 1\\n[b.c]\\nd = 2', ("b", "c", "d"))
    3
    """
    places: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("["):
            table = _parts(line.strip().strip("[]"))
            for depth in range(len(table)):
                places.setdefault(table[: depth + 1], number)
        elif "=" in line and not line.lstrip().startswith("#"):
            places.setdefault((*table, *_parts(line.partition("=")[0])), number)
    return next((places[keys[:size]] for size in range(len(keys), 0, -1) if keys[:size] in places), 1)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "not a text"
