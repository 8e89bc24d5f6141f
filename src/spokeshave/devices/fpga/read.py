"""The TOML file of an FPGA."""

from dataclasses import replace
from typing import Any

from spokeshave.devices.device_file import DeviceFile, line_of
from spokeshave.devices.fpga.device import BOUNDS, LANES, SIZES, SIZES_TO_LESSEN, FPGADevice
from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.resources import resources_of
from spokeshave.errors import SpokeshaveError

FACTS: dict[str, tuple[str | bool, ...]] = {"requantizer": ("multiplier", "shift"), "signed": (True, False)}


def read_fpga(file: DeviceFile) -> FPGADevice:
    """Read a device of this family: a table for each of `BOUNDS` and `FACTS`.

    Raises SpokeshaveError, with line and key, where the engine is larger than the chip.
    """
    names = [*BOUNDS, *FACTS]
    file.check_tables(names, names)
    figures = {key: file.figure((key,), bounds) for key, bounds in BOUNDS.items()}
    facts = {key: file.fact((key,), choices) for key, choices in FACTS.items()}
    size = {key: int(figures[key].value) for key in (*LANES, *SIZES)}
    try:
        engine = Engine(
            Lanes(**{key: size[key] for key in LANES}),
            **{key: size[key] for key in SIZES},
            requantizer="shift" if facts["requantizer"].value == "shift" else "multiplier",
            signed=bool(facts["signed"].value),
        )
    except SpokeshaveError as error:
        raise file.contradiction(error, (*LANES, *SIZES)) from error
    device = FPGADevice(file.name, file.about, figures, facts, engine, file.path.name)
    reason = device.misfit()
    if reason is not None:
        culprit = _culprit(device)
        taker = _taker(device, culprit)
        place = f"{taker}.value, line {line_of(file.text, (taker, 'value'))}, takes most of it"
        raise file.mistake((culprit, "value"), f"contradicts itself: {reason}; {place}")
    return device


def _culprit(device: FPGADevice) -> str:
    """The figure of the chip that the engine exceeds most."""
    shares = device.used.shares(device.budget)
    worst = max(shares, key=lambda name: shares[name])
    return worst if shares[worst] > 1 else "bandwidth"


def _taker(device: FPGADevice, culprit: str) -> str:
    """The figure of the engine that takes most of it: lanes of a kind, columns of memories, or bytes a cycle."""
    if culprit == "bandwidth":
        return "load_bytes"
    if culprit == "bram":
        one: Any = 1
        without = {size: resources_of(replace(device.engine, **{size: one})).bram for size in SIZES_TO_LESSEN}
        return device.size_to_lessen() or min(without, key=lambda size: without[size])
    taken = {
        kind: getattr(resources_of(replace(device.engine, lanes=Lanes(**{kind: lanes}))), culprit)
        for kind in LANES
        if (lanes := getattr(device.engine.lanes, kind))
    }
    return max(taken, key=lambda kind: taken[kind])
