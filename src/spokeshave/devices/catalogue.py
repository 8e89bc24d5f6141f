"""Devices by name: this CPU, the modelled ones that come along, and those in the user's own files."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from spokeshave.devices.crossbars.aqfp import read_aqfp
from spokeshave.devices.crossbars.reram import read_reram
from spokeshave.devices.device import Device
from spokeshave.devices.device_file import DeviceFile
from spokeshave.devices.fpga.read import read_fpga
from spokeshave.devices.host import HostDevice
from spokeshave.devices.integers import read_integers
from spokeshave.devices.roofline import read_roofline
from spokeshave.errors import SpokeshaveError, check_kind

HOST = "host"
OF_ITS_CPU = "-cpu"  # how the file of a phone's CPU ends
FAMILIES: dict[str, Callable[[DeviceFile], Device]] = {
    "roofline": read_roofline,
    "reram": read_reram,
    "aqfp": read_aqfp,
    "integers": read_integers,
    "fpga": read_fpga,
}


def device_names() -> tuple[str, ...]:
    """Names of the devices that come along: `host` first, then the modelled ones.

    >>> device_names()[:3]
    ('host', 'aqfp', 'forms')
    """
    return (HOST, *sorted(_files()))


def load_device(name: str) -> Device:
    """The device of that name, or of a TOML file; raises SpokeshaveError when there is none.

    A phone's name alone means its CPU, for which there is code.

    >>> load_device("galaxy-s10-gpu").kind, load_device("galaxy-s10").name
    ('modelled', 'galaxy-s10-cpu')
    """
    check_kind("a device", name, str, "a name, or the path of a TOML file")
    if name == HOST:
        return HostDevice()
    found = _files().get(name) or _files().get(f"{name}{OF_ITS_CPU}")
    if found is not None:
        return _read(found)
    if name.endswith(".toml") or Path(name).is_file():
        return _read(Path(name))
    known = ", ".join(device_names())
    raise SpokeshaveError(
        f"there is no device {name!r}; known devices are {known}, or name a TOML file of your own"
    )


def _read(path: Path) -> Device:
    file = DeviceFile(path)
    if file.family not in FAMILIES:
        raise file.mistake(("family",), f"must be one of {', '.join(FAMILIES)}, not {file.family!r}")
    return FAMILIES[file.family](file)


def _files() -> dict[str, Path]:
    folder = Path(str(files("spokeshave.devices"))) / "modelled"
    return {path.stem: path for path in folder.glob("*.toml")}
