"""How much each weight matters: a criterion's settings, and `saliencies` that gives every weight's."""

from collections.abc import Iterable
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.weights import check_network

Batches = Iterable[Any]  # (inputs, labels), mappings of named ones, or inputs alone (`data.batch_forms`)


@singledispatch
def saliencies(
    criterion: Any, network: nn.Module, names: Iterable[str], batches: Batches | None = None
) -> dict[str, Tensor]:
    """Saliency of each weight of the named parameters, of their shapes: `saliencies(Taylor(), network, names, data)`.

    It estimates a squared change, so that the saliency of a group of weights is a sum, whatever the scheme's groups.
    `batches` are pairs (inputs, labels), or mappings such as transformers' loaders give, gone through once; where no
    labels are needed, inputs alone will do. Nothing of a batch is kept. The network is not changed.
    Raises SpokeshaveError for an unknown criterion, for data that is missing, for saliencies that are not finite, and
    where all gradients of a weight, or all of its inputs, are zero.
    """
    raise SpokeshaveError(
        f"{criterion!r} is no criterion; give one of those of spokeshave.criteria, such as Taylor()"
    )


def parameters_of(network: nn.Module, names: Iterable[str]) -> dict[str, nn.Parameter]:
    """The named parameters; raises SpokeshaveError for a name that is none."""
    check_network("saliencies", network)
    check_kind("saliencies: names", names, Iterable, "names of parameters")
    known = dict(network.named_parameters())
    names = list(names)
    if not names:
        raise SpokeshaveError("saliencies: names must be names of parameters, and there is none")
    for name in names:
        if name not in known:
            raise SpokeshaveError(f"the network has no parameter {name!r}")
    return {name: known[name] for name in names}


def required(batches: Batches | None, criterion: Any) -> Batches:
    """The batches; raises SpokeshaveError where there are none."""
    if batches is None:
        raise SpokeshaveError(f"{type(criterion).__name__} needs batches (inputs, labels) of data")
    check_kind(f"{type(criterion).__name__}: batches", batches, Iterable, "a list or a loader of batches")
    return batches


def check_finite(found: dict[str, Tensor], criterion: Any) -> dict[str, Tensor]:
    """The saliencies; raises SpokeshaveError naming the first weight whose are not finite."""
    for name, saliency in found.items():
        if not torch.isfinite(saliency).all():
            raise SpokeshaveError(
                f"{type(criterion).__name__}: the saliency of {name} is not finite; look at the data and the weights"
            )
    return found
