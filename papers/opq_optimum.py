"""Further part of OPQ's check: its allocations beside numerical optima, on the weights of a ResNet-20.

    python -m papers.opq_optimum

Removed are modelled Laplace weights, as in the paper, and the weights themselves; the optimum is SLSQP's from SciPy,
begun at even shares, and for the weights themselves that of all sorted together. What is found goes into `opq.json`.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from papers.record import HERE, Finding, add, take_no_arguments, verdict
from spokeshave.allocation import EqualStep, GlobalThreshold, allocate_bits, allocate_sparsity
from spokeshave.allocation.thresholds import Laplace, Population, removed_fractions
from spokeshave.allocation.weights import allocated_weights
from spokeshave.networks import cifar_resnet
from spokeshave.schemes.quantizers import FixedPoint

BEGINS = "the closed form is the numerical optimum: "
SPARSITIES, BITS = (0.7, 0.8, 0.9), 8.0
NEAR = 1e-3  # relative: what SLSQP's own tolerance leaves
MOST = 1 - 1e-9  # of a layer, so that thresholds stay finite
Objective = Callable[[np.ndarray], float]


def least(objective: Objective, budget: Objective, start: Sequence[float], most: float | None) -> float:
    """The least value of an objective where the budget is what it is at the start; SLSQP's."""
    from scipy.optimize import minimize

    first, wanted = objective(np.array(start)), budget(np.array(start))
    found = minimize(
        lambda x: objective(x) / first,
        start,
        bounds=None if most is None else [(0, most)] * len(start),
        constraints={"type": "eq", "fun": lambda x: budget(x) - wanted},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 2000},
    )
    return float(found.fun) * first


def removal(network: torch.nn.Module, sparsity: float) -> dict[str, float]:
    """Squared error of Laplace weights: the closed form's, the optimiser's, and that of even shares."""
    weights = allocated_weights(network).values()
    counts, models = [weight.numel() for weight in weights], [Laplace.of(weight) for weight in weights]

    def error(fractions: np.ndarray) -> float:
        thresholds = [
            -model.scale * math.log1p(-min(float(part), MOST))
            for model, part in zip(models, fractions, strict=True)
        ]
        parts = zip(counts, models, thresholds, strict=True)
        return sum(count * model.error(threshold) for count, model, threshold in parts)

    def removed(fractions: np.ndarray) -> float:
        return float(np.average(fractions, weights=counts))

    layers = [Population(count, model, 1.0, 1.0) for count, model in zip(counts, models, strict=True)]
    closed, even = removed_fractions(layers, sparsity)[0], [sparsity] * len(layers)
    return {
        "closed": error(np.array(closed)),
        "numerical": least(error, removed, even, MOST),
        "even": error(np.array(even)),
    }


def sorted_removal(network: torch.nn.Module, sparsity: float) -> dict[str, float]:
    """Squared error of the weights themselves: the closed form's shares, and all weights sorted together."""
    weights = allocated_weights(network)
    shares = allocate_sparsity(GlobalThreshold(sparsity, floor=0), network).shares
    removed = {name: round((1 - shares[name]) * weight.numel()) for name, weight in weights.items()}

    def smallest(values: torch.Tensor, count: int) -> float:
        return float(values.double().square().flatten().sort().values[:count].sum())

    every = torch.cat([weight.flatten() for weight in weights.values()])
    return {
        "closed": sum(smallest(weight, removed[name]) for name, weight in weights.items()),
        "numerical": smallest(every, sum(removed.values())),
    }


def steps(network: torch.nn.Module) -> dict[str, float]:
    """Squared error of rounding at the rates `log2(range / step)`: the one step's, the optimiser's, equal bits'."""
    weights = allocated_weights(network)
    found = allocate_bits(
        EqualStep(BITS, "shared", whole=False, most=24), network, lambda bits: FixedPoint(min(12, bits))
    )
    counts = np.array([weight.numel() for weight in weights.values()], dtype=float)
    ranges = np.array(
        [float((2 * weight.flatten(1).abs().amax(1)).double().log2().mean()) for weight in weights.values()]
    )
    own = np.log2([found.steps[name] for name in weights])

    def error(log_steps: np.ndarray) -> float:
        return float((counts * 4.0**log_steps).sum() / 12)

    def rate(log_steps: np.ndarray) -> float:
        return float((counts * (ranges - log_steps)).sum() / counts.sum())

    even = ranges - rate(own)
    return {"closed": error(own), "numerical": least(error, rate, list(even), None), "even": error(even)}


def findings(errors: dict[str, dict[str, float]]) -> list[Finding]:
    """A finding for every allocation."""
    return [finding(what, found) for what, found in errors.items()]


def finding(what: str, found: dict[str, float]) -> Finding:
    """How far the closed form is from the optimum, relative to it."""
    gap = found["closed"] / found["numerical"] - 1
    beside = f", even shares {found['even'] / found['numerical'] - 1:+.1%}" if "even" in found else ""
    return Finding(
        f"{BEGINS}{what}",
        "",
        f"error {gap:+.2e} of the optimum's{beside}",
        verdict(abs(gap) <= NEAR),
        control=True,
    )


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    network = cifar_resnet(20, "pretrained")
    found: dict[str, dict[str, float]] = {}
    for sparsity in SPARSITIES:
        found[f"{sparsity:.0%} of Laplace weights removed"] = removal(network, sparsity)
        found[f"{sparsity:.0%} of the weights themselves removed"] = sorted_removal(network, sparsity)
    found[f"one step for all layers at {BITS:g} bits"] = steps(network)
    data: dict[str, Any] = {"network": "ResNet-20, pretrained on CIFAR-10", "errors": found}
    add(HERE / "results" / "opq.json", BEGINS, findings(found), "optimum", data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
