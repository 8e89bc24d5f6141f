"""What a device is: it says what a network costs there, and runs it if it can."""

from collections.abc import Iterable
from typing import Any, Literal, Protocol

from torch import Tensor

from spokeshave.deployment import Cost, Deployment
from spokeshave.errors import SpokeshaveError, check_kind
from spokeshave.plan import Plan
from spokeshave.schemes.scheme import Scheme, check_scheme
from spokeshave.workload import Layer, Workload


class Device(Protocol):
    """Somewhere a network runs; `kind` says whether its costs are measured there or come from a model."""

    @property
    def name(self) -> str:
        """The name that `load_device` takes."""

    @property
    def kind(self) -> Literal["measured", "modelled"]:
        """Where its costs come from."""

    @property
    def about(self) -> str:
        """What it is, in one line."""

    @property
    def deployment(self) -> str:
        """What `deploy` gives, in a few words; empty where a device exists as costs alone."""

    def describe(self) -> str:
        """Its figures, each with its unit and source, for people to read."""

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None when the device profits from `scheme` in `layer`, else the reason why not."""

    def cost(self, workload: Workload, plan: Plan | None = None) -> Cost:
        """What one sample costs when the weights lie in the plan's schemes."""

    def deploy(
        self,
        network: Any,
        example: Tensor | tuple[Tensor, ...],
        plan: Plan | None = None,
        calibration: Iterable[Any] | None = None,
    ) -> Deployment:
        """The network as the device runs it; raises SpokeshaveError when it cannot run networks.

        `calibration`, batches of inputs, shows devices that compute with whole numbers what values there are.
        """


def check_asked(scheme: object, layer: object) -> None:
    """Raise SpokeshaveError unless a device can be asked whether it supports this: a scheme, in a layer.

    >>> check_asked(None, None)
    Traceback (most recent call last):
    spokeshave.errors.SpokeshaveError: supports needs a scheme, such as BlockColumnRow(0.9), not None
    """
    if scheme is None:
        raise SpokeshaveError("supports needs a scheme, such as BlockColumnRow(0.9), not None")
    check_scheme("supports", scheme)
    check_kind("supports: the layer", layer, Layer, "one of a workload's layers")
