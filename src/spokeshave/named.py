"""Configs by the names that recipes use: frozen dataclasses from a name, or from a mapping with a name and settings."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from spokeshave.errors import SpokeshaveError


def config_of(
    kind: str, table: Mapping[str, type[Any]], setting: Any, elsewhere: Collection[str] = ()
) -> Any:
    """The config of a name, or of a mapping with a name and settings; raises SpokeshaveError for any other.

    `kind` is what sentences call it. Fields that are `elsewhere` are no settings, and are left to their defaults.
    """
    given = dict(setting) if isinstance(setting, Mapping) else {"name": setting}
    name = given.pop("name", None)
    if not isinstance(name, str) or name not in table:
        raise SpokeshaveError(f"there is no {kind} {name!r}; known ones are {', '.join(table)}")
    known = {field.name: field for field in fields(table[name]) if field.name not in elsewhere}
    for key in given:
        if key not in known:
            choice = f"its settings are {', '.join(known)}" if known else "it has none"
            raise SpokeshaveError(f"the {kind} {name} has no setting {key!r}; {choice}")
    missing = [key for key, field in known.items() if field.default is MISSING and key not in given]
    if missing:
        raise SpokeshaveError(
            f"the {kind} {name} needs {missing[0]}: write {{name: {name}, {missing[0]}: ...}}"
        )
    return table[name](
        **{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    )


def setting_of(table: Mapping[str, type[Any]], config: Any) -> dict[str, Any]:
    """The mapping that `config_of` reads back."""
    name = next(name for name, kind in table.items() if type(config) is kind)
    return {"name": name, **asdict(config)}
