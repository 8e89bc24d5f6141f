"""How much of a network's work each weight does."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import ceil

from spokeshave.errors import SpokeshaveError
from spokeshave.workload import Layer, Workload

Power = Callable[[Layer, float], float]
LANE = 16


@dataclass(frozen=True)
class Work:
    """`parts`: by parameter, its fraction of the multiply-adds of all weights; `layers`: a layer that it serves."""

    parts: dict[str, float]
    layers: dict[str, Layer]

    def left(self, shares: Mapping[str, float]) -> float:
        """The fraction of all multiply-adds that is left when weights keep these shares."""
        return 1 - sum(self.parts[name] * (1 - share) for name, share in shares.items())


def work_of(workload: Workload, names: Collection[str]) -> Work:
    """The work of the named weights; products of two activations (attention) are not counted.

    Raises SpokeshaveError for a weight that does no work that can be counted.
    """
    weighted = [layer for layer in workload.layers if layer.parameter]
    total = sum(layer.multiply_adds for layer in weighted)
    served = {layer.parameter: layer for layer in weighted}
    for name in names:
        if name not in served:
            raise SpokeshaveError(f"{name} does no work that can be counted; name its layer in dense")
    parts = {
        name: sum(layer.multiply_adds for layer in weighted if layer.parameter == name) / total
        for name in names
    }
    return Work(parts, {name: served[name] for name in names})


def block_power(block: tuple[int, int]) -> Power:
    """LPViT's power of a layer: its surviving blocks times the sixteens of its input features."""

    def power(layer: Layer, share: float) -> float:
        blocks = ceil(layer.rows / block[0]) * ceil(layer.columns / block[1])
        features = layer.input_shape[1] if layer.kind == "convolution" else layer.columns
        return share * blocks * (features // LANE)

    return power
