"""How much each weight matters."""

from spokeshave.criteria.criterion import saliencies
from spokeshave.criteria.gradients import (
    BlockFisher,
    Fisher,
    Movement,
    Taylor,
    mean_gradients,
    squared_outputs,
)
from spokeshave.criteria.input_norm import InputNorm, InputSquares
from spokeshave.criteria.magnitude import Magnitude
from spokeshave.criteria.random import Random

__all__ = [
    "BlockFisher",
    "Fisher",
    "InputNorm",
    "InputSquares",
    "Magnitude",
    "Movement",
    "Random",
    "Taylor",
    "mean_gradients",
    "saliencies",
    "squared_outputs",
]
