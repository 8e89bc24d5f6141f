"""Which scheme a plan gives to each layer of a workload, what a device refuses of it, and weights to cost it with."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from spokeshave.deployment import Cost
from spokeshave.devices.device import Device
from spokeshave.devices.figure import readable
from spokeshave.errors import SpokeshaveError, check_kind
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


def usable_schemes(device: Device, workload: Workload, plan: Plan | None) -> dict[str, Scheme]:
    """The same, once it is sure that the device uses each scheme and that nothing would cost nothing.

    Every `cost` begins here. Raises SpokeshaveError for schemes that the device does not support, for operators that
    multiply matrices of which `trace` does not know the sizes, and where there are no matrices at all.
    """
    check_kind(f"{device.name}: the workload", workload, Workload, "what trace(network, example) gives")
    if plan is not None:
        check_kind(f"{device.name}: the plan", plan, Plan, "a Plan or None")
    for name, operator in workload.unseen:
        raise SpokeshaveError(
            f"{name or 'the network'}: {operator} multiplies matrices, and {device.name} has no cost for it; "
            "layers of torch.nn, matmul and scaled_dot_product_attention have one"
        )
    if not workload.layers:
        raise SpokeshaveError(
            f"the network multiplies no matrices, and {device.name} has costs for nothing else"
        )
    schemes = assign(workload, plan)
    check_schemes(device, workload, schemes)
    return schemes


def check_schemes(device: Device, workload: Workload, schemes: Mapping[str, Scheme]) -> None:
    """Raise SpokeshaveError, with the layer's name, at the first scheme (by parameter) that a device cannot use."""
    for layer in workload.layers:
        check_scheme(device, layer, schemes.get(layer.parameter or ""))


def check_scheme(device: Device, layer: Layer, scheme: Scheme | None) -> None:
    """The same of one layer."""
    reason = device.supports(scheme, layer) if scheme is not None else None
    if reason is not None:
        raise SpokeshaveError(f"{device.name} cannot run {layer_told(layer)} under {scheme}: {reason}")


def check_memory(device: str, weight_bytes: float, memory: float) -> None:
    """Raise SpokeshaveError for weights larger than a device's memory, both in bytes."""
    if weight_bytes > memory:
        raise SpokeshaveError(
            f"the weights take {readable(weight_bytes, 'byte')}, {weight_bytes / memory:.3g} times the memory of "
            f"{device}; {readable(memory, 'byte')} would fit"
        )


def layer_told(layer: Layer) -> str:
    """How a layer is called in sentences: by its module, or by its parameter where a module has several.

    >>> layer_told(Layer("attention", "linear", 12, 4, 1, (1, 4), (1, 12), "float32", "attention.in_proj_weight"))
    'attention.in_proj_weight'
    """
    if layer.parameter is not None and layer.parameter != f"{layer.name}.weight":
        return layer.parameter
    return layer.name or f"a {layer.kind} of the network itself"


def costed_layers(workload: Workload, cost: Cost) -> list[tuple[Layer, float]]:
    """Each layer in a cost, with its seconds; those that are `left_out`, by `layer_told`, are not in it."""
    left_out = Counter(name for name, _ in cost.left_out)
    costed = []
    for layer in workload.layers:
        if left_out[layer_told(layer)]:
            left_out[layer_told(layer)] -= 1
        else:
            costed.append(layer)
    return [(layer, seconds) for layer, (_, seconds) in zip(costed, cost.by_layer, strict=True)]


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
