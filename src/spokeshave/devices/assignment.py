"""Which scheme a plan gives to each layer of a workload, and weights of that kind to cost it with."""

from functools import lru_cache

import torch
from torch import Tensor

from spokeshave.plan import Plan
from spokeshave.schemes.scheme import Packed, Scheme
from spokeshave.weights import Weight
from spokeshave.workload import Layer, Workload


def assign(workload: Workload, plan: Plan | None) -> dict[str, Scheme]:
    """Scheme by parameter name, as `Plan.resolve` would give, from the workload alone."""
    schemes = {}
    for layer in workload.layers:
        scheme = _scheme_of(layer, plan)
        if layer.parameter is not None and scheme is not None:
            schemes[layer.parameter] = scheme
    return schemes


def _scheme_of(layer: Layer, plan: Plan | None) -> Scheme | None:
    if plan is None or layer.parameter is None:
        return None
    weight = Weight((layer.parameter,), layer.weight_shape, wanted=True)
    return next((rule.scheme for rule in plan.rules if rule.covers(weight)), None)


def random_weight(shape: tuple[int, ...], scheme: Scheme | None) -> Tensor:
    """A random weight of the scheme, always the same one: costs hang on the structure, not on the values."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator) / max(1, weight_columns(shape)) ** 0.5
    return weight if scheme is None else scheme.project(weight)


def weight_columns(shape: tuple[int, ...]) -> int:
    """Columns of the matrix view.

    >>> weight_columns((8, 4, 3, 3))
    36
    """
    return torch.Size(shape[1:]).numel()


def packed_size(shape: tuple[int, ...], scheme: Scheme) -> tuple[int, int]:
    """Weights kept and bytes of indices when a weight of this shape is packed under a scheme."""
    return _packed_size(shape, scheme)  # type: ignore[arg-type]  # schemes are frozen, so they have a hash


@lru_cache(maxsize=4096)
def _packed_size(shape: tuple[int, ...], scheme: Scheme) -> tuple[int, int]:
    weight = random_weight(shape, scheme)
    packed: Packed = scheme.pack(weight)
    kept = int(torch.count_nonzero(weight))
    return kept, packed.nbytes - kept * weight.element_size()
