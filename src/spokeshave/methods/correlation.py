"""How far two sets of weights agree on which weights are large."""

from collections.abc import Mapping

import torch
from torch import Tensor

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.schemes.checks import is_number
from spokeshave.schemes.ranking import keep_largest, support


def weight_correlation(first: Mapping[str, Tensor], second: Mapping[str, Tensor], fraction: float) -> float:
    """The overlap ratio of the largest weights, layer by layer (arXiv 2102.11068, section 2).

    The part of the `fraction` of largest magnitudes of each layer that both have in common, summed over layers: 1 for
    equal networks, about `fraction` for independent ones. Arguments are `state_dict()`s, of which tensors with two axes
    or more count. Zeros are pruned weights: the fraction is of the weights that remain in that network of the two which
    has more of them. Raises SpokeshaveError for other names or shapes, for NaN, and where a network has too few
    weights left.

    >>> import torch
    >>> one = {"weight": torch.tensor([[4.0, -3.0, 2.0, 1.0]])}
    >>> weight_correlation(one, {"weight": torch.tensor([[-9.0, 0.5, 8.0, 0.1]])}, 0.5)
    0.5
    """
    if not is_number(fraction) or not 0 < fraction <= 1:
        raise SpokeshaveError(f"the fraction of largest weights must be a number in (0, 1], not {fraction!r}")
    shared = [_overlap(name, *pair, fraction) for name, pair in _pairs(first, second).items()]
    return sum(common for common, _ in shared) / sum(count for _, count in shared)


def _pairs(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    for state in (first, second):
        check_kind("the weights to compare", state, Mapping, "a network's state_dict()")
    matrices = [
        {name: tensor.detach() for name, tensor in each.items() if tensor.dim() > 1}
        for each in (first, second)
    ]
    shapes = [{name: tensor.shape for name, tensor in each.items()} for each in matrices]
    if shapes[0] != shapes[1] or not shapes[0]:
        raise SpokeshaveError(
            "the weights to compare have no, or other, names and shapes; give two state_dict()s of one network"
        )
    return {name: (matrices[0][name], matrices[1][name]) for name in matrices[0]}


def _overlap(name: str, first: Tensor, second: Tensor, fraction: float) -> tuple[int, int]:
    """Weights among the largest of both, and how many the largest are."""
    if not all(bool(torch.isfinite(weight).all()) for weight in (first, second)):
        raise SpokeshaveError(f"{name} holds infinite values or NaN; nothing can be ranked by it")
    left = [int(support(weight).sum()) for weight in (first, second)]
    count = max(1, round(fraction * max(left)))
    if min(left) < count:
        raise SpokeshaveError(
            f"{name} has {min(left)} weights left in one network, fewer than the {count} largest of the other"
        )
    largest = [keep_largest(weight.abs().flatten().float(), count) for weight in (first, second)]
    return int((largest[0] & largest[1]).sum()), count
