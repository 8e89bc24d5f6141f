"""How sparse each layer becomes, from the weights alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from spokeshave.allocation.thresholds import Empirical, Laplace, Population, removed_fractions
from spokeshave.allocation.weights import (
    Sensitivity,
    allocated_weights,
    check_arguments,
    check_settings,
    plan_of,
    sensitivities,
)
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.schemes.checks import check_choice, check_fraction
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured

OWNER = "global threshold"
DISTRIBUTIONS: dict[str, type[Laplace] | type[Empirical]] = {"laplace": Laplace, "empirical": Empirical}


@dataclass(frozen=True)
class GlobalThreshold:
    """The shares at which removing weights changes them least, in closed form (OPQ, arXiv 2205.11141).

    `sparsity`: the fraction of all allocated weights that goes. `distribution`: "laplace", the paper's model, or
    "empirical", the quantiles that it stands for. `floor`: every layer keeps this share at least, and one weight a
    filter. `dense`: patterns of layers left out. `sensitivity(name, weight)`: what a squared error costs (1
    for all); a batch norm makes the scale of the weights before it arbitrary, and with it this allocation:
    `relative_error` undoes that, or fold batch norms in first.
    """

    sparsity: float
    distribution: str = "empirical"
    floor: float = 0.01
    dense: Sequence[str] = ()
    sensitivity: Sensitivity | None = None

    def __post_init__(self) -> None:
        check_fraction(OWNER, "sparsity", self.sparsity)
        check_fraction(OWNER, "floor", self.floor)
        check_choice(OWNER, "distribution", self.distribution, tuple(DISTRIBUTIONS))
        check_settings(OWNER, self.dense, self.sensitivity)


@dataclass(frozen=True)
class SparsityAllocation:
    """`shares`: what remains of each weight, by parameter; `threshold`: the magnitude below which weights go."""

    plan: Plan
    shares: dict[str, float]
    threshold: float


def unstructured(share: float) -> Scheme:
    """Single weights, as the paper has it."""
    return Unstructured(1 - share)


def allocate_sparsity(
    method: GlobalThreshold, network: nn.Module, scheme: Callable[[float], Scheme | None] = unstructured
) -> SparsityAllocation:
    """Share out a sparsity over a network's layers; `scheme` makes a layer's scheme of the share that remains.

    Raises SpokeshaveError for a sparsity that the floors do not allow, and for a scheme that does not suit a layer.

    >>> network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> _ = network[2].weight.data.mul_(3)  # large weights are spared
    >>> shares = allocate_sparsity(GlobalThreshold(0.8), network).shares
    >>> shares["0.weight"] < 0.2 < shares["2.weight"]
    True
    """
    check_arguments(method, GlobalThreshold, scheme)
    weights = allocated_weights(network, method.dense)
    costs = sensitivities(method.sensitivity, weights)
    populations = [_population(method, weight, costs[name]) for name, weight in weights.items()]
    _check_floors(method, populations)
    removed, threshold = removed_fractions(populations, method.sparsity)
    shares = {name: 1 - part for name, part in zip(weights, removed, strict=True)}
    return SparsityAllocation(
        plan_of(network, {name: scheme(share) for name, share in shares.items()}), shares, threshold
    )


def _population(method: GlobalThreshold, weight: Tensor, sensitivity: float) -> Population:
    least = max(method.floor, weight.shape[0] / weight.numel())
    return Population(weight.numel(), DISTRIBUTIONS[method.distribution].of(weight), 1 - least, sensitivity)


def _check_floors(method: GlobalThreshold, populations: list[Population]) -> None:
    most = sum(p.count * p.most for p in populations) / sum(p.count for p in populations)
    if method.sparsity > most:
        raise SpokeshaveError(
            f"a sparsity of {method.sparsity} leaves layers less than their floor; at most {most:.4f} is possible"
        )
