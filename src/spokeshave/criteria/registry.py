"""The criteria by the names that recipes use."""

from typing import Any

from spokeshave.criteria.gradients import Fisher, Movement, Taylor
from spokeshave.criteria.input_norm import InputNorm
from spokeshave.criteria.magnitude import Magnitude
from spokeshave.criteria.random import Random

CRITERIA: dict[str, type[Any]] = {
    "magnitude": Magnitude,
    "taylor": Taylor,
    "fisher": Fisher,
    "movement": Movement,
    "input_norm": InputNorm,
    "random": Random,
}
