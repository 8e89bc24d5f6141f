"""Thresholds at which a given share of tokens stays on average, sample by sample more or fewer."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.decisions import Threshold
from spokeshave.tokens.insert import Inserted, inserted_in

EQUAL = 0.05  # share of patches that equal scores may keep too many


@torch.no_grad()
def calibrate_thresholds(
    network: nn.Module, batches: Iterable[Any], keep: Sequence[float]
) -> tuple[float, ...]:
    """Let every reducer decide by the threshold at which `keep` of all patches stay over the `batches` together.

    `keep` are shares of all patches, one for each reducer, none above the one before. `batches` are inputs, or
    `(inputs, labels)`, and are gone through once a reducer: a selector that was trained with Gumbel noise knows an
    order, but its probabilities need not lie on both sides of one half. Returns the thresholds.
    """
    reduced, held = inserted_in(network), list(batches)
    falling = list(keep) == sorted(keep, reverse=True) and all(0 < share <= 1 for share in keep)
    if len(keep) != len(reduced.reducers) or not falling or not held:
        raise SpokeshaveError(
            f"thresholds need batches, and a share above 0 and at most 1 for each of {len(reduced.reducers)} reducers, "
            f"none above the one before, not {list(keep)}"
        )
    training = network.training
    network.eval()
    try:
        return tuple(_calibrate(network, reduced, held, index, share) for index, share in enumerate(keep))
    finally:
        network.train(training)


def _calibrate(network: nn.Module, reduced: Inserted, held: Sequence[Any], index: int, share: float) -> float:
    scores = []
    for batch in held:
        network(batch[0] if isinstance(batch, (tuple, list)) else batch)
        scores.append(reduced.scores[index].flatten())
    ranked = torch.cat(scores).sort(descending=True).values
    least = float(ranked[max(1, round(share * len(ranked))) - 1])
    stay = float((ranked >= least).double().mean())
    if stay > share + EQUAL:
        raise SpokeshaveError(
            f"reducer {index}: so many scores are {least:g} that no threshold keeps {share:.0%} of the patches; that "
            f"one keeps {stay:.0%}; decide by TopK, or score otherwise"
        )
    reduced.decide(reduced.reducers[index].before, Threshold(least))
    return least
