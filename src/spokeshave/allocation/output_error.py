"""What a network's outputs change by when one of its weights is another: measured, not estimated."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.criteria.criterion import Batches
from spokeshave.errors import SpokeshaveError
from spokeshave.export import evaluating
from spokeshave.nesting import flattened


@dataclass(frozen=True)
class OutputError:
    """A network, inputs, and the outputs that it has with its weights as they are; `of` makes one."""

    network: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[tuple[Tensor, ...], ...]

    @staticmethod
    def of(network: nn.Module, batches: Batches, passes: int | None) -> "OutputError":
        """Run the network once over up to `passes` batches, which are kept; raises SpokeshaveError for none."""
        inputs = tuple(
            found for number, (found, _) in enumerate(batches) if passes is None or number < passes
        )
        if not inputs:
            raise SpokeshaveError("measuring a distortion needs one batch of data or more")
        return OutputError(network, inputs, tuple(_outputs(network, inputs)))

    @torch.no_grad()
    def with_weight(self, name: str, values: Tensor) -> float:
        """Mean squared change of all outputs while the named parameter has these values; it gets its own back."""
        weight = self.network.get_parameter(name)
        before = weight.detach().clone()
        if torch.equal(before, values):
            return 0.0
        try:
            weight.copy_(values)
            changed = list(_outputs(self.network, self.inputs))
        finally:
            weight.copy_(before)
        squares = [
            (one - other).double().square().flatten()
            for found, expected in zip(changed, self.outputs, strict=True)
            for one, other in zip(found, expected, strict=True)
        ]
        return float(torch.cat(squares).mean())


@torch.no_grad()
def _outputs(network: nn.Module, inputs: Iterable[Tensor]) -> list[tuple[Tensor, ...]]:
    def floating(values: Any) -> tuple[Tensor, ...]:
        return tuple(value for value in flattened(values)[0] if value.is_floating_point())

    with evaluating(network):
        return [floating(network(each)) for each in inputs]
