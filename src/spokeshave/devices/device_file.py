"""TOML file -> figures of a modelled device; a mistake is told with file, line and key."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spokeshave.devices.figure import Bounds, Fact, Figure, told
from spokeshave.errors import SpokeshaveError

TEXTS = ("name", "about", "family")
STATUSES = ("seen", "recalled", "inferred")
MARKS = ("status", "source")
HEADER = re.compile(r"\s*\[{1,2}([^\]]+)\]")
LONG_TEXTS = re.compile(r'"""|\'\'\'')


class DeviceFile:
    """One file, and where in it each key stands.

    It has `name`, `about`, `family` and tables of the family's own, one a figure: `value`, `unit`, `status` and
    `source`, without the unit where the value is no number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.text = path.read_text(encoding="utf-8")
            self.document = tomllib.loads(self.text)
        except (OSError, UnicodeDecodeError) as error:
            raise SpokeshaveError(f"the device file {path} cannot be read: {_reason(error)}") from error
        except ValueError as error:  # whole numbers of thousands of digits too
            raise SpokeshaveError(f"{path} is not TOML: {error}") from error

    @property
    def name(self) -> str:
        """The device's name."""
        return self._text("name")

    @property
    def about(self) -> str:
        """What it is, in one line."""
        return self._text("about")

    @property
    def family(self) -> str:
        """What kind of device it is."""
        return self._text("family")

    def check_tables(self, known: list[str], needed: list[str]) -> None:
        """Refuse tables that are not known, and the lack of those that are needed."""
        self.check_keys((), self.document, [*TEXTS, *known], [*TEXTS, *needed])

    def figure(self, keys: tuple[str, ...], bounds: Bounds) -> Figure:
        """The number of a table, within its bounds."""
        table = self._marked(keys, ("value", "unit", *MARKS))
        if (wrong := bounds.wrong(table["value"])) is not None:
            raise self.mistake((*keys, "value"), wrong)
        if table["unit"] != bounds.unit:
            raise self.mistake((*keys, "unit"), f"must be {bounds.unit!r}, not {told(table['unit'])}")
        return Figure(float(table["value"]), bounds.unit, table["status"], table["source"])

    def fact(self, keys: tuple[str, ...], choices: tuple[str | bool, ...]) -> Fact:
        """What a table says that is no number: one of the choices."""
        table = self._marked(keys, ("value", *MARKS))
        if (type(table["value"]), table["value"]) not in [(type(choice), choice) for choice in choices]:
            known = ", ".join(str(choice).lower() for choice in choices)
            raise self.mistake((*keys, "value"), f"must be one of {known}, not {table['value']!r}")
        return Fact(table["value"], table["status"], table["source"])

    def table(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """The table under these keys."""
        found: Any = self.document
        for key in keys:
            found = found[key]
        if not isinstance(found, dict):
            raise self.mistake(keys, "must be a table")
        return found

    def check_keys(
        self, keys: tuple[str, ...], table: dict[str, Any], known: list[str], needed: list[str]
    ) -> None:
        """Refuse keys of a table that are not known, and the lack of those that are needed."""
        for key in table:
            if key not in known:
                raise self.mistake((*keys, key), f"is not known here; known keys are {', '.join(known)}")
        for key in needed:
            if key not in table:
                raise self.mistake(keys, f"lacks {key!r}" if keys else f"the device lacks {key!r}")

    def mistake(self, keys: tuple[str, ...], what: str) -> SpokeshaveError:
        """An error that says where."""
        name = f"{'.'.join(keys)} " if keys else ""
        return SpokeshaveError(f"{self.path}, line {line_of(self.text, keys)}: {name}{what}")

    def contradiction(self, reason: SpokeshaveError, keys: Iterable[str]) -> SpokeshaveError:
        """The same sentence with file and line of the key that it is about.

        Of keys that it names, the first whose value is not the one (`key='value'`) that it asks for.
        """
        said = str(reason)
        places = {key: place.start() for key in keys if (place := re.search(rf"\b{key}\b", said))}
        named = sorted(places, key=lambda key: places[key])
        wrong = [key for key in named if f"{key}={self.document[key]['value']!r}" not in said]
        return self.mistake(((wrong or named)[0], "value") if named else (), f"contradicts itself: {said}")

    def _marked(self, keys: tuple[str, ...], fields: tuple[str, ...]) -> dict[str, Any]:
        table = self.table(keys)
        self.check_keys(keys, table, list(fields), list(fields))
        if table["status"] not in STATUSES:
            raise self.mistake(
                (*keys, "status"), f"must be one of {', '.join(STATUSES)}, not {table['status']!r}"
            )
        if not isinstance(table["source"], str) or not table["source"].strip():
            raise self.mistake((*keys, "source"), "must say where the figure comes from")
        return table

    def _text(self, key: str) -> str:
        found = self.document.get(key)
        if found is None:
            raise self.mistake((), f"the device lacks {key!r}")
        if not isinstance(found, str) or not found.strip() or not found.isprintable():
            raise self.mistake((key,), f"must be a text of one line, not {told(found)}")
        return found


def line_of(text: str, keys: tuple[str, ...]) -> int:
    """The line on which a key, or the nearest table that would hold it, stands; 1 for the whole file.

    >>> line_of('a = 1\\n[b.c]\\nd = 2', ("b", "c", "d"))
    3
    """
    places: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    inside = False  # a text of several lines
    for number, line in enumerate(text.splitlines(), start=1):
        began, inside = inside, inside != (len(LONG_TEXTS.findall(line)) % 2 == 1)
        if began:
            continue
        if header := HEADER.match(line):
            table = _parts(header[1])
            for depth in range(len(table)):
                places.setdefault(table[: depth + 1], number)
        elif "=" in line and not line.lstrip().startswith("#"):
            places.setdefault((*table, *_parts(line.partition("=")[0])), number)
    return next((places[keys[:size]] for size in range(len(keys), 0, -1) if keys[:size] in places), 1)


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "unknown" if isinstance(error, OSError) else "not a text"
