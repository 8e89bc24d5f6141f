"""What was chosen for a graph: everything that its whole numbers depend on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from spokeshave.compiler.integers.weights import WholeWeight
from spokeshave.compiler.operations import Quantization


@dataclass(frozen=True)
class Choices:
    """Quantizations by value, weights by name, and biases (by name) that are to stand for the graph's own.

    `largest`: how far states of recurrent layers get from 0, by value; of an LSTM's c at any step.
    """

    grids: Mapping[str, Quantization]
    weights: Mapping[str, WholeWeight]
    biases: Mapping[str, Tensor] = field(default_factory=dict)
    largest: Mapping[str, float] = field(default_factory=dict)
