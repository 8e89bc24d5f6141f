"""Filters, channels and heads taken out: a smaller network that computes what the masked one does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from spokeshave.criteria import Magnitude, saliencies
from spokeshave.criteria.criterion import Batches
from spokeshave.errors import SpokeshaveError
from spokeshave.export import evaluating, one_sample
from spokeshave.nesting import flattened
from spokeshave.plan import Rule
from spokeshave.schemes.checks import is_number
from spokeshave.structures.budget import MultiplyAdds, nearest_share
from spokeshave.structures.families import Family, families_of, least_worthy, removable, worth_of_units
from spokeshave.structures.links import Links, links_of
from spokeshave.structures.surgery import masked, shrunk
from spokeshave.weights import Weight, check_network, layer_of, parametrized_weights, weights_of
from spokeshave.workload import trace

TOLERANCE = 1e-4  # of the largest output: sums are in another order


@dataclass(frozen=True)
class Smaller:
    """`network`: the smaller one, a copy; `masked`: one of the old shape with zeros instead, of the same outputs.

    `outputs`: by layer, outputs that stay and outputs before; `left`: by layer that did not shrink as it was
    asked to, the reason. `multiply_adds`: after and before, of one sample.
    """

    network: nn.Module
    masked: nn.Module
    outputs: dict[str, tuple[int, int]]
    left: dict[str, str]
    multiply_adds: tuple[int, int]


def remove_structures(
    network: nn.Module,
    example: Tensor | tuple[Any, ...],
    shares: float | Mapping[str, float] | MultiplyAdds,
    criterion: Any = None,
    batches: Batches | None = None,
) -> Smaller:
    """Take the least salient outputs out of layers, with all that hangs on them in other layers.

    `shares`: what stays of the outputs, for all layers or by patterns over layer and parameter names (what none
    covers keeps all); or `MultiplyAdds(remaining)`, for the one share that meets this budget. Outputs that are added to
    one another, the features of an attention head in query, key, value and output, the channels of a group norm's
    group, and a recurrent layer's unit in all its gates go together; layers so linked keep the largest of their shares.
    `criterion` as in `OneShot`. The smaller network is compared with the masked one on random inputs shaped as
    `example`; what fails is left as it was. Raises SpokeshaveError for patterns that cover nothing, for a budget out
    of reach, for layers of nothing but zeros, and when nothing at all can be taken out.

    >>> network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> smaller = remove_structures(network, torch.zeros(1, 8), 0.5)
    >>> smaller.network[0], smaller.left["2"]
    (Linear(in_features=8, out_features=8, bias=True), "its outputs are the network's outputs")
    """
    check_network("remove_structures", network)
    links = links_of(network, example)
    with evaluating(network):  # some parametrizations count how often they are read in training
        parametrized = parametrized_weights(network)
    weights = tuple(weight for weight in weights_of(network) if weight.wanted) + parametrized
    worth = worth_of_units(links, _saliencies(network, links, weights, criterion, batches))
    before = trace(network, example).multiply_adds
    if isinstance(shares, MultiplyAdds):
        shares = _shares_for(shares, network, example, links, weights, worth, before)
    wanted = _wanted(shares, weights)
    families = _families(links, wanted)
    _check_worth(families, worth)
    removed = {family: least_worthy(family.units, worth, share) for family, share in families.items()}
    failed = _drop_failures(network, links, removed, example)
    gone = frozenset(unit for units in removed.values() for unit in units)
    left = _reasons(links, weights, wanted, families, failed, gone)
    if not gone:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in list(left.items())[:3])
        raise SpokeshaveError(f"nothing can be taken out of the network ({reasons or 'all shares are 1'})")
    smaller = shrunk(network, links, gone)
    counts = trace(smaller, example).multiply_adds, before
    return Smaller(smaller, masked(network, links, gone), _outputs(links, gone), left, counts)


def _shares_for(
    budget: MultiplyAdds,
    network: nn.Module,
    example: Tensor | tuple[Any, ...],
    links: Links,
    weights: tuple[Weight, ...],
    worth: Mapping[int, float],
    before: int,
) -> dict[str, float]:
    """Shares that meet the budget; families that the network's code keeps whole take no part."""
    patterns = dict.fromkeys(budget.layers, 0.5)
    families = _families(links, _wanted(patterns, weights))
    half = {family: least_worthy(family.units, worth, share) for family, share in families.items()}
    failed = _drop_failures(network, links, half, example)

    def counted(share: float) -> int:
        kept = (family for family, asked in families.items() if asked < 1 and family not in failed)
        gone = frozenset(unit for family in kept for unit in least_worthy(family.units, worth, share))
        return trace(shrunk(network, links, gone), example).multiply_adds

    return dict.fromkeys(patterns, nearest_share(counted, before, budget))


def _families(links: Links, wanted: Mapping[str, float]) -> dict[Family, float]:
    """The share of every family: the largest that one of its layers keeps."""
    return {family: max(wanted.get(layer, 1.0) for layer in family.layers) for family in families_of(links)}


def _check_worth(families: Mapping[Family, float], worth: Mapping[int, float]) -> None:
    for family, share in families.items():
        if share < 1 and len(family.units) > 1 and not any(worth.get(unit) for unit in family.units):
            layers = " and ".join(layer_of(layer) for layer in family.layers)
            raise SpokeshaveError(
                f"all weights that make or read the outputs of {layers} are zeros by the criterion, so none of the "
                "outputs ranks above another; load or train them first, or let the layer keep all"
            )


def _wanted(shares: float | Mapping[str, float], weights: tuple[Weight, ...]) -> dict[str, float]:
    """The share that is asked for, by weight."""
    if not isinstance(shares, int | float | Mapping):
        raise SpokeshaveError(f"shares are a number, numbers by pattern, or MultiplyAdds, not {shares!r}")
    rules = {"*": shares} if isinstance(shares, int | float) else dict(shares)
    for pattern, share in rules.items():
        if not is_number(share) or not 0 < share <= 1:
            raise SpokeshaveError(f"the share for {pattern!r} must be a number in (0, 1], not {share!r}")
        if not any(Rule(pattern, None).covers(weight) for weight in weights):
            raise SpokeshaveError(f"the pattern {pattern!r} names no layer with weights")
    return {
        weight.parameter: next((s for pattern, s in rules.items() if Rule(pattern, None).covers(weight)), 1.0)
        for weight in weights
    }


def _saliencies(
    network: nn.Module, links: Links, weights: tuple[Weight, ...], criterion: Any, batches: Batches | None
) -> dict[str, Tensor]:
    """Of the layers' weights that lose outputs or inputs; tables and tokens have no inputs that could be measured."""
    labels = links.labels
    names = [
        weight.parameter
        for weight in weights
        if any(
            labels.reason(label) is None
            for axis in links.tensors.get(weight.parameter, ())[:2]
            for label in axis or ()
        )
    ]
    return saliencies(criterion or Magnitude(), network, names, batches) if names else {}


def _drop_failures(
    network: nn.Module, links: Links, removed: dict[Family, list[int]], example: Tensor | tuple[Any, ...]
) -> dict[Family, str]:
    """Empty the families whose removal the network's own code does not stand; why, by family."""
    everything = [unit for units in removed.values() for unit in units]
    if not everything or _failure(network, links, everything, example) is None:
        return {}
    failed = {}
    for family, units in removed.items():
        reason = _failure(network, links, units, example) if units else None
        if reason is not None:
            failed[family], removed[family] = reason, []
    together = _failure(network, links, [unit for units in removed.values() for unit in units], example)
    if together is not None:
        raise SpokeshaveError(f"layers that could shrink alone cannot together: {together}")
    return failed


def _failure(
    network: nn.Module, links: Links, removed: Iterable[int], example: Tensor | tuple[Any, ...]
) -> str | None:
    """Why the smaller network is not what the masked one is, or None."""
    gone = frozenset(removed)
    reference, smaller = masked(network, links, gone), shrunk(network, links, gone)
    inputs = _random_inputs(example)
    with evaluating(reference), evaluating(smaller), torch.no_grad():
        expected = flattened(reference(*inputs))[0]
        try:
            found = flattened(smaller(*inputs))[0]
        except Exception as error:  # the user's code may raise anything
            return f"the network's code does not run with fewer: {str(error).strip().splitlines()[0]}"
    for one, other in zip(found, expected, strict=True):
        same_shape = isinstance(one, Tensor) and one.shape == other.shape
        if not same_shape or not torch.allclose(one, other, 0, TOLERANCE * float(other.abs().max())):
            return "the network's code computes something else with fewer"
    return None


def _random_inputs(example: Tensor | tuple[Any, ...]) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(0)

    def random(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return torch.randn(value.shape, generator=generator).to(value)

    return tree_map(random, one_sample(example))


def _reasons(
    links: Links,
    weights: tuple[Weight, ...],
    wanted: Mapping[str, float],
    families: Mapping[Family, float],
    failed: Mapping[Family, str],
    gone: frozenset[int],
) -> dict[str, str]:
    """By layer that did not shrink as it was asked to."""
    of_layer = {layer: family for family in families for layer in family.layers}
    left = {}
    for name in (weight.parameter for weight in weights if wanted[weight.parameter] < 1):
        family = of_layer.get(name)
        if family is None:
            reason: str | None = _own_reason(links, name)
        elif removable(links, name) & gone:
            reason = _part_reason(links, name)
        else:
            reason = _family_reason(family, families[family], failed, wanted)
        if reason is not None:
            left[layer_of(name) or name] = reason
    return left


def _part_reason(links: Links, name: str) -> str | None:
    axis = links.outputs[name] or ()
    reasons = [reason for label in axis if (reason := links.labels.reason(label))]
    return f"{len(reasons)} of its {len(axis)} outputs stay: {reasons[0]}" if reasons else None


def _family_reason(
    family: Family, share: float, failed: Mapping[Family, str], wanted: Mapping[str, float]
) -> str:
    if family in failed:
        return failed[family]
    if share == 1:
        keeping = next(layer for layer in family.layers if wanted.get(layer, 1.0) == 1)
        return f"its outputs go together with those of {layer_of(keeping)}, which keeps all"
    return f"a share of {share:g} keeps all of its {len(family.units)} outputs that could go"


def _own_reason(links: Links, name: str) -> str:
    if name.endswith("in_proj_weight"):
        return (
            "PyTorch's MultiheadAttention counts on all of its heads; attention with a linear layer each for query, "
            "key and value can lose heads"
        )
    layer, _, attribute = name.rpartition(".")
    original = f"{layer}.parametrizations.{attribute}.original".lstrip(".")
    used = (
        axes[0] for tensor, axes in links.tensors.items() if tensor == name or tensor.startswith(original)
    )
    axis = next(used, None)
    if axis is None:
        return "the network does not use it on such inputs"
    return links.labels.reason(axis[0]) or "its operator has no rule by which outputs could go"


def _outputs(links: Links, gone: frozenset[int]) -> dict[str, tuple[int, int]]:
    return {
        layer_of(name): (sum(links.labels.root(label) not in gone for label in axis), len(axis))
        for name, axis in links.outputs.items()
        if axis is not None
    }
