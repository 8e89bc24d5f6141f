"""The squared weight: what removing it alone changes in the weights."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from spokeshave.criteria.criterion import Batches, check_finite, parameters_of, saliencies


@dataclass(frozen=True)
class Magnitude:
    """`w^2`, without any data."""


@saliencies.register
def _(
    criterion: Magnitude, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> dict[str, Tensor]:
    found = {name: weight.detach().square() for name, weight in parameters_of(network, names).items()}
    return check_finite(found, criterion)
