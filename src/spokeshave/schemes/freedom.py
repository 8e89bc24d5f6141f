"""What training may change in a weight that lies in its scheme without leaving the choice that was made."""

from functools import singledispatch

import torch
from torch import Tensor

from spokeshave.schemes.crossbar_pruned import CrossbarPruned
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import Codebook, RowQuantizer
from spokeshave.schemes.ranking import support
from spokeshave.schemes.stacked import Stacked


@singledispatch
def free_weights(scheme: object, weight: Tensor) -> Tensor:
    """Which weights may be other than zero, bool of the weight's shape; those that are, unless the scheme knows."""
    return support(weight)


@free_weights.register
def _(scheme: Polarized, weight: Tensor) -> Tensor:
    return torch.ones_like(weight, dtype=torch.bool)  # a weight may come back, with its fragment's sign


@free_weights.register
def _(scheme: CrossbarPruned, weight: Tensor) -> Tensor:
    return scheme.in_use(weight)


@free_weights.register
def _(scheme: Intersection, weight: Tensor) -> Tensor:
    parts = [part for part in scheme.parts if not isinstance(part, RowQuantizer | Codebook)]
    free = [free_weights(part, weight) for part in parts] or [support(weight)]
    return torch.stack(free).all(0)


@free_weights.register
def _(scheme: Stacked, weight: Tensor) -> Tensor:
    return torch.stack([free_weights(scheme.each, matrix) for matrix in weight])


def frozen_signs(scheme: object, weight: Tensor) -> Tensor | None:
    """The sign, 1 or -1, that each weight must keep (or be zero); None where either will do."""
    if isinstance(scheme, Intersection):
        found = (frozen_signs(part, weight) for part in scheme.parts)
        return next((signs for signs in found if signs is not None), None)
    if isinstance(scheme, Stacked):
        each = [signs for matrix in weight if (signs := frozen_signs(scheme.each, matrix)) is not None]
        return torch.stack(each) if each else None
    return scheme.signs(weight) if isinstance(scheme, Polarized) else None
