"""C literals of what kernels take by value."""

import numpy as np

from spokeshave.compiler.kernels.activations import float_literal
from spokeshave.compiler.kernels.words import PER_WORD
from spokeshave.compiler.quantization.arithmetic import Requantization


def requantization_literal(after: Requantization) -> str:
    """The C literal of a `requantization`."""
    numbers = (after.residual_scale, after.inverse, after.zero_point, after.low, after.high)
    floats = ", ".join(float_literal(np.float32(number).item()) for number in numbers)
    gap = int.from_bytes(bytes([after.zero_point] * PER_WORD), "little", signed=True)
    return f"(requantization){{{floats}, {gap}}}"
