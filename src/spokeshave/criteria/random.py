"""Saliencies drawn at random: the mask that knows nothing, which a criterion must beat."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spokeshave.criteria.criterion import Batches, parameters_of, saliencies
from spokeshave.schemes.checks import check_count


@dataclass(frozen=True)
class Random:
    """Numbers spread evenly between 0 and 1, other ones for every seed."""

    seed: int = 0

    def __post_init__(self) -> None:
        check_count("Random", "seed", self.seed, 0)


@saliencies.register
def _(
    criterion: Random, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(criterion.seed)
    return {
        name: torch.rand(weight.shape, generator=generator).to(weight)
        for name, weight in parameters_of(network, names).items()
    }
