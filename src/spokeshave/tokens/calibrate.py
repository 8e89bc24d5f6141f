"""Thresholds at which a given share of tokens stays on average, sample by sample more or fewer."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.tokens.decisions import Threshold
from spokeshave.tokens.insert import inserted_in


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
    if len(keep) != len(reduced.reducers) or not all(0 < share <= 1 for share in keep) or not held:
        raise SpokeshaveError(
            f"thresholds need batches, and a share above 0 and at most 1 for each of {len(reduced.reducers)} reducers, "
            f"not {list(keep)}"
        )
    training, found = network.training, []
    network.eval()
    for index, (reducer, share) in enumerate(zip(reduced.reducers, keep, strict=True)):
        scores = []
        for batch in held:
            network(batch[0] if isinstance(batch, (tuple, list)) else batch)
            scores.append(reduced.scores[index].flatten())
        ranked = torch.cat(scores).sort(descending=True).values
        found.append(float(ranked[max(1, round(share * len(ranked))) - 1]))
        reduced.decide(reducer.before, Threshold(found[-1]))
    network.train(training)
    return tuple(found)
