"""The scores in what a network returns: a tensor, or a mapping that holds them under `logits`."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def scores(output: Any) -> Any:
    """The scores `[N, classes]` in a network's output."""
    return output["logits"] if isinstance(output, Mapping) and "logits" in output else output


class Logits(nn.Module):
    """A network that gives its scores alone, as training loops want them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores `[N, classes]` of a batch."""
        return scores(self.network(inputs))
