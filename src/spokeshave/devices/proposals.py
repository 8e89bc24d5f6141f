"""What a device proposes where the user brings no plan: schemes that its hardware is made for, and a method."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

from spokeshave.devices.crossbars.aqfp import AQFPDevice
from spokeshave.devices.crossbars.reram import ReRAMDevice
from spokeshave.devices.device import Device
from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.engine import Lanes
from spokeshave.devices.integers import IntegerDevice
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.polarized import Polarized
from spokeshave.schemes.quantizers import Binary, FixedPoint, PowerOfTwo
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload

MOST_BITS = 8  # of weights: more are not worth training for


@dataclass(frozen=True)
class Proposal:
    """A plan, and the method that brings a network into it, by its name in recipes.

    `trained_last`: nothing trains behind the method, for what it trains with would be lost.
    """

    plan: Plan
    method: Literal["admm", "quantization_aware", "randomized_binary"]
    trained_last: bool = True


@singledispatch
def proposed(device: Device, workload: Workload) -> Proposal | None:
    """The proposal of a device for a network; None where only the user knows how much smaller it must be."""
    return None


@proposed.register
def _(device: FPGADevice, workload: Workload) -> Proposal:
    """Rows of two formats as its lanes are (Auto-ViT-Acc, arXiv 2208.05163), of one in the first and last layers.

    Signs where its lanes are binary.
    """
    if device.engine.lanes.binary:
        return _signs(device, workload)
    if device.engine.requantizer == "shift":
        return Proposal(Plan(()), "quantization_aware")
    lanes = device.engine.lanes
    fixed = FixedPoint(8 if lanes.int8 else 4)
    layers = _weighted(workload)
    ends = {layers[0].parameter, layers[-1].parameter} if layers else set()

    def scheme(layer: Layer) -> Scheme:
        return fixed if layer.parameter in ends else _rows(lanes, fixed)

    return Proposal(_plan(device, workload, scheme), "quantization_aware")


@proposed.register
def _(device: IntegerDevice, workload: Workload) -> Proposal:
    """Weights of its bits; levels whose scales are powers of two it finds itself."""
    bits = min(device.form.weight_bits, MOST_BITS)
    if device.form.rescale == "shift":
        return Proposal(Plan(()), "quantization_aware")
    return Proposal(_plan(device, workload, lambda layer: FixedPoint(bits)), "quantization_aware")


@proposed.register
def _(device: ReRAMDevice, workload: Workload) -> Proposal:
    """Fragments of one sign where cells hold sizes alone (FORMS, arXiv 2106.09144), and no more bits than it has."""
    array = device.array
    levels = FixedPoint(min(array.weight_bits, MOST_BITS))
    if array.encoding != "polarized":
        return Proposal(_plan(device, workload, lambda layer: levels), "quantization_aware")
    scheme = Intersection((Polarized(array.rows_at_once), levels))
    return Proposal(_plan(device, workload, lambda layer: scheme), "admm", trained_last=False)


@proposed.register
def _(device: AQFPDevice, workload: Workload) -> Proposal:
    """Signs: every layer binary that its columns can read, but the last, which runs outside of the cold."""
    return _signs(device, workload)


def _signs(device: Device, workload: Workload) -> Proposal:
    """Every layer binary that a device can run so, but the last, whose scores are no signs."""
    layers = _weighted(workload)
    rules = [Rule(str(layer.parameter), None) for layer in layers[-1:]]
    rest = _plan(device, Workload(tuple(layers[:-1])), lambda layer: Binary())
    return Proposal(Plan((*rules, *rest.rules)), "randomized_binary")


def _weighted(workload: Workload) -> list[Layer]:
    return [layer for layer in workload.layers if layer.parameter is not None]


def _rows(lanes: Lanes, fixed: FixedPoint) -> Scheme:
    """As many rows that are powers of two as there are lanes for them."""
    share = lanes.shift / (lanes.shift + lanes.int8 + lanes.int4)
    if share in (0, 1):
        return PowerOfTwo(4) if share else fixed
    return MixedRows(fixed, PowerOfTwo(4), share)


def _plan(device: Device, workload: Workload, scheme: Callable[[Layer], Scheme]) -> Plan:
    """A rule for each layer's weight; those that the device cannot use in a scheme stay dense."""
    schemes = {
        layer.parameter: scheme(layer) if device.supports(scheme(layer), layer) is None else None
        for layer in _weighted(workload)
    }
    return Plan(tuple(Rule(str(name), chosen) for name, chosen in schemes.items()))
