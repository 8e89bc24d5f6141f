"""What a network costs somewhere, and how it runs there."""

from spokeshave.devices.catalogue import device_names, load_device
from spokeshave.devices.device import Device
from spokeshave.devices.figure import Figure
from spokeshave.devices.host import HostDevice
from spokeshave.devices.integers import IntegerDevice
from spokeshave.devices.profile import Profile, ProfileRow
from spokeshave.devices.roofline import RooflineDevice

__all__ = [
    "Device",
    "Figure",
    "HostDevice",
    "IntegerDevice",
    "Profile",
    "ProfileRow",
    "RooflineDevice",
    "device_names",
    "load_device",
]
