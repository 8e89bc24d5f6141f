"""Saved deployments of every kind."""

from collections.abc import Callable, Mapping
from pathlib import Path

from spokeshave.compiler.integers.deployment import MARKER as INTEGERS
from spokeshave.compiler.integers.deployment import IntegerDeployment, load_integer_deployment
from spokeshave.compiler.native import NativeDeployment, load_deployment
from spokeshave.devices.crossbars.aqfp import AQFPDevice
from spokeshave.devices.crossbars.aqfp_deployment import MARKER as COLUMNS
from spokeshave.devices.crossbars.aqfp_deployment import AQFPDeployment, load_aqfp_deployment
from spokeshave.devices.crossbars.deployment import MARKER as CROSSBARS
from spokeshave.devices.crossbars.deployment import load_crossbar_deployment
from spokeshave.devices.crossbars.reram import ReRAMDevice
from spokeshave.devices.device import Device

Saved = NativeDeployment | IntegerDeployment | AQFPDeployment
LOADERS: Mapping[str, Callable[[Path | str], Saved]] = {
    INTEGERS: load_integer_deployment,
    CROSSBARS: load_crossbar_deployment,
    COLUMNS: load_aqfp_deployment,
}


def marker_of(device: Device) -> str:
    """The file by which a folder with a deployment of a device in whole numbers or signs is known."""
    return (
        COLUMNS
        if isinstance(device, AQFPDevice)
        else CROSSBARS
        if isinstance(device, ReRAMDevice)
        else INTEGERS
    )


def load_saved(folder: Path | str) -> Saved:
    """Load a deployment: native code, whole numbers, crossbars, columns; raises SpokeshaveError when it is none."""
    for marker, load in LOADERS.items():
        if (Path(folder) / marker).is_file():
            return load(folder)
    return load_deployment(folder)
