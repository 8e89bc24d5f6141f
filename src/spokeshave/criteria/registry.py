"""The criteria by the names that recipes use."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from spokeshave.criteria.gradients import BlockFisher, Fisher, Movement, Taylor
from spokeshave.criteria.input_norm import InputNorm
from spokeshave.criteria.magnitude import Magnitude
from spokeshave.criteria.random import Random
from spokeshave.errors import SpokeshaveError

CRITERIA: dict[str, type[Any]] = {
    "magnitude": Magnitude,
    "taylor": Taylor,
    "fisher": Fisher,
    "block_fisher": BlockFisher,
    "movement": Movement,
    "input_norm": InputNorm,
    "random": Random,
}
NOT_IN_TEXT = "loss"  # a function


def criterion_of(setting: Any) -> Any:
    """The criterion of a name, or of a mapping with a name and settings; raises SpokeshaveError for any other.

    >>> criterion_of({"name": "block_fisher", "block": [8, 64]}).block
    (8, 64)
    """
    given = dict(setting) if isinstance(setting, Mapping) else {"name": setting}
    name = given.pop("name", None)
    if name not in CRITERIA:
        raise SpokeshaveError(f"there is no criterion {name!r}; known ones are {', '.join(CRITERIA)}")
    known = {field.name: field for field in fields(CRITERIA[name]) if field.name != NOT_IN_TEXT}
    for key in given:
        if key not in known:
            choice = f"its settings are {', '.join(known)}" if known else "it has none"
            raise SpokeshaveError(f"the criterion {name} has no setting {key!r}; {choice}")
    missing = [key for key, field in known.items() if field.default is MISSING and key not in given]
    if missing:
        raise SpokeshaveError(
            f"the criterion {name} needs {missing[0]}: write {{name: {name}, {missing[0]}: ...}}"
        )
    return CRITERIA[name](
        **{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    )
