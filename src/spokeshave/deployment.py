"""What a device hands back: the network as that device runs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Cost:
    """What running a network once costs; `None` where a device does not say.

    `kind` tells whether the figures were measured on the device itself or come from a model of it; `source` names
    the measurement or the model, and every table prints both. `left_out`: layers that run elsewhere and are not in the
    figures, `(layer, why)`, a layer of a module with several weights by its weight.
    """

    kind: Literal["measured", "modelled"]
    source: str
    latency_seconds: float | None = None
    energy_joules: float | None = None
    weight_bytes: int | None = None
    samples_per_second: float | None = None  # of many, one behind the other
    area_mm2: float | None = None
    by_layer: tuple[tuple[str, float], ...] = ()  # (layer, seconds)
    left_out: tuple[tuple[str, str], ...] = ()


class Deployment(Protocol):
    """A network on a device: callable with the network's own inputs, returns what the device would compute."""

    def __call__(self, *inputs: Any) -> Any:
        """Run the network on a batch."""

    @property
    def cost(self) -> Cost:
        """What one sample costs."""

    def save(self, folder: Path) -> None:
        """Write everything needed to load the deployment again, without the network's Python class."""
