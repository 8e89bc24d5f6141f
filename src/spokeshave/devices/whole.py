"""Deployments of devices that compute with whole numbers in the way of `compiler/integers/`, and what stays float32."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from spokeshave.compiler.integers import IntegerDeployment, IntegerForm, WholeNetwork, whole_network
from spokeshave.compiler.integers.ranges import accumulator_ranges
from spokeshave.deployment import Cost
from spokeshave.devices.assignment import layer_told
from spokeshave.devices.device import Device
from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.plan import Plan
from spokeshave.schemes.intersection import LEVELS, Intersection
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload, trace

ELSEWHERE = "stays float32, so it runs elsewhere"


class WholeDevice(Device, Protocol):
    """A device with a form of whole numbers."""

    @property
    def form(self) -> IntegerForm:
        """What it computes with."""


def needed(device: Device, calibration: Iterable[Any] | None) -> Iterable[Any]:
    """The calibration data; raises SpokeshaveError where there is none."""
    if calibration is None:
        raise SpokeshaveError(
            f"{device.name} computes with whole numbers: it needs calibration data (`calibration`, --calibration)"
        )
    check_kind("the calibration data", calibration, Iterable, "batches of inputs")
    return calibration


def deploy_whole(
    device: WholeDevice,
    network: Any,
    example: Tensor | tuple[Tensor, ...],
    plan: Plan | None,
    calibration: Iterable[Any] | None,
) -> IntegerDeployment:
    """The network in a device's whole numbers, with its cost there; refuses what either refuses."""
    shown, workload = needed(device, calibration), trace(network, example)
    device.cost(workload, plan)  # what it refuses is known before anything is calibrated
    whole = whole_network(network, example, shown, device.form, plan)
    if not accumulator_ranges(whole.graph):
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in whole.floats)
        raise SpokeshaveError(f"{device.name} can run no layer of the network: {reasons}")
    return IntegerDeployment(whole, device.form, _cost(device, workload, plan, whole), device.name)


def _cost(device: Device, workload: Workload, plan: Plan | None, whole: WholeNetwork) -> Cost:
    """What the deployment's whole numbers cost: without products of activations that it computes in float32."""
    told = (entry.removesuffix(")").rpartition(" (") for entry, _ in whole.floats)
    floats = {
        name for name, _, kind in told if kind == "MatMul" or "." in kind
    }  # operators of PyTorch have dots
    in_no_module = not floats <= {layer.name for layer in workload.layers}

    def reason(layer: Layer) -> str | None:
        unseen = layer.name in floats if layer.name else in_no_module
        return ELSEWHERE if unseen and not layer.weight_shape else None

    kept, left_out = parted(workload, reason)
    cost = device.cost(kept, plan)
    return replace(cost, left_out=(*cost.left_out, *left_out))


def float_reason(layer: Layer) -> str | None:
    """Why a layer stays float32 in every deployment in whole numbers, or None."""
    if layer.kind in ("convolution", "transposed") and len(layer.kernel) > 2:
        return f"convolutions over {len(layer.kernel)} axes have no form in whole numbers"
    return None


def zeros_told(schemes: Mapping[str, Scheme]) -> str:
    """What the source of a cost says of schemes with zeros among their levels: they are multiplied with as well.

    >>> from spokeshave.schemes.quantizers import FixedPoint
    >>> from spokeshave.schemes.unstructured import Unstructured
    >>> zeros_told({"a": Unstructured(0.5) & FixedPoint(8)}), zeros_told({"a": FixedPoint(8)})
    (', which computes with the zeros too', '')
    """
    sparse = any(
        not isinstance(part, LEVELS)
        for scheme in schemes.values()
        if isinstance(scheme, Intersection)
        for part in scheme.parts
    )
    return ", which computes with the zeros too" if sparse else ""


def whole_part(device: str, workload: Workload) -> tuple[Workload, tuple[tuple[str, str], ...]]:
    """The layers that a device computes in whole numbers, and `(layer, why)` of the others.

    Raises SpokeshaveError where there are others alone.
    """
    kept, left_out = parted(workload, float_reason)
    if left_out and not kept.layers:
        name, reason = left_out[0]
        raise SpokeshaveError(f"{device} can run no layer of the network: {name}: {reason}")
    return kept, left_out


def parted(
    workload: Workload, reason: Callable[[Layer], str | None]
) -> tuple[Workload, tuple[tuple[str, str], ...]]:
    """The layers without a reason against them, and the others with theirs."""
    reasons = [(layer, reason(layer)) for layer in workload.layers]
    kept = tuple(layer for layer, against in reasons if against is None)
    return replace(workload, layers=kept), tuple(
        (layer_told(layer), against) for layer, against in reasons if against is not None
    )
