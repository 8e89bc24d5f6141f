"""The criteria by the names that recipes use."""

from typing import Any

from spokeshave.criteria.gradients import BlockFisher, Fisher, Movement, Taylor
from spokeshave.criteria.input_norm import InputNorm
from spokeshave.criteria.magnitude import Magnitude
from spokeshave.criteria.random import Random
from spokeshave.named import config_of

CRITERIA: dict[str, type[Any]] = {
    "magnitude": Magnitude,
    "taylor": Taylor,
    "fisher": Fisher,
    "block_fisher": BlockFisher,
    "movement": Movement,
    "input_norm": InputNorm,
    "random": Random,
}
NOT_IN_TEXT = ("loss",)  # a function


def criterion_of(setting: Any) -> Any:
    """The criterion of a name, or of a mapping with a name and settings; raises SpokeshaveError for any other.

    >>> criterion_of({"name": "block_fisher", "block": [8, 64]}).block
    (8, 64)
    """
    return config_of("criterion", CRITERIA, setting, elsewhere=NOT_IN_TEXT)
