"""What every device takes and gives: its schemes, where its costs come from, what its deployment is."""

from dataclasses import dataclass, fields
from typing import Literal

from spokeshave.devices.catalogue import device_names, load_device
from spokeshave.devices.device import Device
from spokeshave.schemes.quantizers import FixedPoint, PowerOfTwo
from spokeshave.schemes.registry import SCHEMES
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer

COMPOSED = ("intersection", "stacked")  # of other schemes
SETTINGS = {"sparsity": 0.5, "first": FixedPoint(4), "second": PowerOfTwo(4), "share": 0.5}


@dataclass(frozen=True)
class Capability:
    """One device: `schemes` by their names in plans, `deployment` empty where it exists as costs alone."""

    name: str
    kind: Literal["measured", "modelled"]
    about: str
    schemes: tuple[str, ...]
    deployment: str


def capabilities() -> tuple[Capability, ...]:
    """Of every device that comes along."""
    return tuple(map(capability, map(load_device, device_names())))


def capability(device: Device) -> Capability:
    """What a device takes, asked of it for an ordinary convolution or linear layer, and what it gives."""
    taken = tuple(
        name
        for name in SCHEMES
        if name not in COMPOSED
        and any(device.supports(example_of(name), layer) is None for layer in (_linear(), _convolution()))
    )
    return Capability(device.name, device.kind, device.about, taken, device.deployment)


def example_of(name: str) -> Scheme:
    """A scheme with its usual settings.

    >>> example_of("unstructured")
    Unstructured(sparsity=0.5)
    """
    kind = SCHEMES[name]
    needed = {
        key: value
        for key, value in SETTINGS.items()
        if key in {field.name for field in fields(kind)} and not hasattr(kind, key)
    }
    scheme: Scheme = kind(**needed)
    return scheme


def _linear() -> Layer:
    return Layer(
        name="linear", kind="linear", rows=128, columns=128, positions=1, input_shape=(1, 128),
        output_shape=(1, 128), dtype="float32", parameter="linear.weight", weight_shape=(128, 128),
    )  # fmt: skip


def _convolution() -> Layer:
    return Layer(
        name="convolution", kind="convolution", rows=64, columns=576, positions=64, input_shape=(1, 64, 8, 8),
        output_shape=(1, 64, 8, 8), dtype="float32", parameter="convolution.weight", weight_shape=(64, 64, 3, 3),
    )  # fmt: skip
