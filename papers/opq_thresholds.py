"""Further part of OPQ's check: its closed form beside one threshold over all layers, by magnitude and by other scores.

    python -m papers.opq_thresholds

ResNet-20 pretrained on CIFAR-10, pruned without training, batch-norm statistics measured afresh on other images for
each seed. Peers: one magnitude threshold without OPQ's floors; one for relative magnitudes, over the layer's root mean
square; and one for LAMP's scores (arXiv 2010.07611), a weight's square over the sum of the squares in its layer that
are no smaller. What is found goes into `opq.json`.
"""

import sys
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from papers.opq import SEEDS, SPARSITIES, TESTED, judging_images, projected
from papers.pruning import realised_density
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from papers.trials import beats, remembered
from spokeshave.allocation import GlobalThreshold, allocate_sparsity, relative_error
from spokeshave.allocation.weights import allocated_weights
from spokeshave.data import DATA, Data
from spokeshave.measure.accuracy import evaluate
from spokeshave.methods import refresh_batch_norm
from spokeshave.networks import cifar_resnet
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.unstructured import Unstructured

BEGINS = "one threshold: "
OURS, BARE, NORMALISED, LAMP = (
    "OPQ",
    "magnitudes without floors",
    "relative magnitudes",
    "LAMP's scores",
)
COMPARED = (OURS, BARE, NORMALISED, LAMP)
SAME = 0.999  # of the weights are kept, or go, in both


def shares_by_scores(scores: dict[str, Tensor], sparsity: float) -> dict[str, float]:
    """What each layer keeps where the smallest of all scores go.

    >>> shares_by_scores({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([2.0, 3.0, 4.0, 6.0])}, 0.5)
    {'a': 0.5, 'b': 0.5}
    """
    every = torch.cat([one.flatten() for one in scores.values()]).sort().values
    least = every[round(sparsity * len(every))]
    return {name: float((one >= least).double().mean()) for name, one in scores.items()}


def lamp(weight: Tensor) -> Tensor:
    """LAMP's scores of a layer's weights, in ascending order.

    >>> lamp(torch.tensor([1.0, -2.0, 2.0]))
    tensor([0.1111, 0.5000, 1.0000], dtype=torch.float64)
    """
    squares = weight.double().square().flatten().sort().values
    return squares / squares.flip(0).cumsum(0).flip(0)


def shares(network: nn.Module, name: str, sparsity: float) -> dict[str, float]:
    """What each layer keeps."""
    weights = allocated_weights(network)
    if name == OURS:
        return allocate_sparsity(GlobalThreshold(sparsity), network).shares
    if name == NORMALISED:
        return allocate_sparsity(GlobalThreshold(sparsity, sensitivity=relative_error), network).shares
    score = lamp if name == LAMP else torch.abs
    return shares_by_scores({each: score(weight) for each, weight in weights.items()}, sparsity)


def pruned(network: nn.Module, name: str, sparsity: float) -> nn.Module:
    """A copy without the smallest weights of every layer."""
    kept = shares(network, name, sparsity)
    return projected(
        network, Plan(tuple(Rule(each, Unstructured(1 - share)) for each, share in kept.items()))
    )


def trial(network: nn.Module, data: Data, name: str, sparsity: float, seed: int) -> dict[str, Any]:
    """Accuracy, density, and the share of the weights that are kept, or go, as under OPQ."""
    one, ours = pruned(network, name, sparsity), pruned(network, OURS, sparsity)
    names = list(allocated_weights(network))
    total = sum(prod(one.get_parameter(each).shape) for each in names)
    alike = sum(
        int(((one.get_parameter(each) != 0) == (ours.get_parameter(each) != 0)).sum()) for each in names
    )
    torch.manual_seed(seed)  # which images the statistics are measured on
    refresh_batch_norm(one, data.train, passes=10)
    accuracy = evaluate(one, judging_images(data)).top1
    about = {"allocation": name, "sparsity": sparsity, "seed": seed, "pruned": accuracy}
    return about | {"density": realised_density(one, names), "alike": alike / total}


def findings(rows: list[dict[str, Any]]) -> list[Finding]:
    """Whether OPQ's is one magnitude threshold, and whether it does better than other scores."""
    found = []
    for sparsity in SPARSITIES:
        at = [row for row in rows if row["sparsity"] == sparsity]
        values = {name: [row["pruned"] for row in at if row["allocation"] == name] for name in COMPARED}
        alike = next(row["alike"] for row in at if row["allocation"] == BARE)
        found.append(
            Finding(
                f"{BEGINS}at {sparsity:.0%} the closed form is one magnitude threshold over all layers",
                "",
                f"{alike:.4%} of the weights are kept, or go, in both",
                verdict(alike >= SAME),
                "what differs: no layer keeps less than 1 % or one weight a filter",
                control=True,
            )
        )
        found += [
            beats(
                f"{BEGINS}at {sparsity:.0%} the closed form keeps more accuracy than one for {peer}",
                values,
                OURS,
                peer,
                note=f"without training, {TESTED:,} test images",
                control=True,
            )
            for peer in (NORMALISED, LAMP)
        ]
    return found


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    torch.set_num_threads(1)
    network, data = cifar_resnet(20, "pretrained"), DATA["cifar10"]()
    rows = [
        remembered(
            f"opq/threshold-{name}-{sparsity}-{seed}".replace(" ", "_"),
            partial(trial, network, data, name, sparsity, seed),
        )
        for sparsity in SPARSITIES
        for name in COMPARED
        for seed in SEEDS
    ]
    add(HERE / "results" / "opq.json", BEGINS, findings(rows), "thresholds", {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
