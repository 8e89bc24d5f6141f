"""Devices beside a device, with one figure turned: how noise changes what they compute."""

from dataclasses import dataclass
from functools import singledispatch

from spokeshave.devices.crossbars.aqfp import AQFPDevice
from spokeshave.devices.crossbars.reram import ReRAMDevice
from spokeshave.devices.device import Device

VARIATIONS = (0.0, 0.05, 0.1, 0.2, 0.3)
STREAMS = (1, 2, 4, 8, 16, 32)
GREY_ZONES = (0.6, 1.2, 2.4, 5.0, 10.0)  # microampere


@dataclass(frozen=True)
class Sweep:
    """`points`: the figure, as the picture names it, and the device with it; `own` is the device's own."""

    title: str
    x_label: str
    own: float
    points: tuple[tuple[float, Device], ...]


@singledispatch
def sweeps(device: Device) -> tuple[Sweep, ...]:
    """The sweeps of a device; none where results hang on no noise."""
    return ()


@sweeps.register
def _(device: ReRAMDevice) -> tuple[Sweep, ...]:
    own = device.figures["variation"].value
    values = sorted({*VARIATIONS, own})
    points = tuple((value, device.with_figures(variation=value)) for value in values)
    return (Sweep("Accuracy by variation of cells", "deviation of a cell's log conductance", own, points),)


@sweeps.register
def _(device: AQFPDevice) -> tuple[Sweep, ...]:
    stream, zone = float(device.columns.stream), device.columns.grey_zone * 1e6
    streams = tuple((float(n), device.with_figures(stream=n)) for n in sorted({*STREAMS, int(stream)}))
    zones = tuple((z, device.with_figures(grey_zone=z * 1e-6)) for z in sorted({*GREY_ZONES, round(zone, 6)}))
    return (
        Sweep("Accuracy by length of the bit stream", "clocks", stream, streams),
        Sweep("Accuracy by grey zone", "microampere", zone, zones),
    )
