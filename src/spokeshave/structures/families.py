"""Layers whose outputs stay or go together, and which of these go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spokeshave.structures.links import Links


@dataclass(frozen=True)
class Family:
    """`layers`: names of weights; `units`: roots of the slices (filters, channels, heads) that may go."""

    layers: tuple[str, ...]
    units: tuple[int, ...]


def families_of(links: Links) -> list[Family]:
    """Layers in one family share a unit, or are linked by layers that do, in the network's order."""
    units = {name: removable(links, name) for name in links.outputs}
    families: list[Family] = []
    for name, own in units.items():
        if own:
            joined = [family for family in families if not own.isdisjoint(family.units)]
            layers = [layer for family in joined for layer in family.layers]
            merged = own.union(*(family.units for family in joined))
            families = [family for family in families if family not in joined]
            families.append(Family((*layers, name), tuple(sorted(merged))))
    return families


def removable(links: Links, layer: str) -> set[int]:
    """Roots of a layer's outputs that may go."""
    labels = links.labels
    return {labels.root(label) for label in links.outputs[layer] or () if labels.reason(label) is None}


def worth_of_units(links: Links, saliencies: Mapping[str, Tensor]) -> dict[int, float]:
    """The sum of all saliency that goes with each root."""
    worth: dict[int, float] = {}
    for name, saliency in saliencies.items():
        for dim, axis in enumerate(links.tensors[name]):
            others = [other for other in range(saliency.dim()) if other != dim]
            sums = saliency.double().sum(others) if others else saliency.double()
            for label, value in zip(axis or (), sums.tolist(), strict=True):
                root = links.labels.root(label)
                worth[root] = worth.get(root, 0.0) + value
    return worth


def least_worthy(units: Sequence[int], worth: Mapping[int, float], share: float) -> list[int]:
    """The units that go when a share of them stays, one at least; of equal ones the last go."""
    kept = max(1, round(share * len(units)))
    values = torch.tensor([worth.get(unit, 0.0) for unit in units], dtype=torch.float64)
    order = values.argsort(descending=True, stable=True)
    return [units[int(place)] for place in order[kept:]]
