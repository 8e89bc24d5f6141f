"""Deployments of devices that compute with whole numbers in the way of `compiler/integers/`."""

from collections.abc import Iterable
from typing import Any, Protocol

from torch import Tensor

from spokeshave.compiler.integers import IntegerDeployment, IntegerForm, whole_network
from spokeshave.devices.device import Device
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.workload import trace


class WholeDevice(Device, Protocol):
    """A device with a form of whole numbers."""

    @property
    def form(self) -> IntegerForm:
        """What it computes with."""


def needed(device: Device, calibration: Iterable[Any] | None) -> Iterable[Any]:
    """The calibration data; raises SpokeshaveError where there is none."""
    if calibration is None:
        raise SpokeshaveError(f"{device.name} computes with whole numbers: it needs calibration data")
    return calibration


def deploy_whole(
    device: WholeDevice,
    network: Any,
    example: Tensor | tuple[Tensor, ...],
    plan: Plan | None,
    calibration: Iterable[Any] | None,
) -> IntegerDeployment:
    """The network in a device's whole numbers, with its cost there; refuses what either refuses."""
    shown = needed(device, calibration)
    cost = device.cost(trace(network, example), plan)
    return IntegerDeployment(
        whole_network(network, example, shown, device.form, plan), device.form, cost, device.name
    )
