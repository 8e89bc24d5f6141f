"""The TOML file of an FPGA."""

from dataclasses import replace

from spokeshave.devices.device_file import DeviceFile, line_of
from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.resources import resources_of
from spokeshave.errors import SpokeshaveError

UNITS = {
    **dict.fromkeys(("dsp", "lut", "ff", "bram", "usable", "bandwidth_share"), "1"),
    "clock": "Hz",
    "bandwidth": "byte/s",
    "memory": "byte",
    "static_power": "W",
    **dict.fromkeys(("dsp_energy", "lut_energy", "bram_energy", "byte_energy"), "J"),
}
SHARES = ("usable", "bandwidth_share")
LANES = ("int8", "int4", "shift", "binary")
SIZES = ("columns", "depth", "positions", "load_bytes", "outputs", "accumulator_bits")
LARGEST_SIZE = 1 << 20
FACTS: dict[str, tuple[str | bool, ...]] = {"requantizer": ("multiplier", "shift"), "signed": (True, False)}


def read_fpga(file: DeviceFile) -> FPGADevice:
    """Read a device of this family: a table for each of `UNITS`, `LANES`, `SIZES` and `FACTS`.

    Raises SpokeshaveError, with line and key, where the engine is larger than the chip.
    """
    numbers = (*LANES, *SIZES)
    names = [*UNITS, *numbers, *FACTS]
    file.check_tables(names, names)
    figures = {key: file.figure((key,), unit) for key, unit in UNITS.items()}
    figures |= {key: file.whole(key, LARGEST_SIZE, 0 if key in LANES else 1) for key in numbers}
    facts = {key: file.fact((key,), choices) for key, choices in FACTS.items()}
    for key in SHARES:
        if figures[key].value > 1:
            raise file.mistake((key, "value"), f"must be at most 1, not {figures[key].value:g}")
    size = {key: int(figures[key].value) for key in numbers}
    try:
        engine = Engine(
            Lanes(**{key: size[key] for key in LANES}),
            **{key: size[key] for key in SIZES},
            requantizer="shift" if facts["requantizer"].value == "shift" else "multiplier",
            signed=bool(facts["signed"].value),
        )
    except SpokeshaveError as error:
        raise file.contradiction(error, numbers) from error
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
    if culprit in ("bandwidth", "bram"):
        return {"bandwidth": "load_bytes", "bram": "columns"}[culprit]
    taken = {
        kind: getattr(resources_of(replace(device.engine, lanes=Lanes(**{kind: lanes}))), culprit)
        for kind in LANES
        if (lanes := getattr(device.engine.lanes, kind))
    }
    return max(taken, key=lambda kind: taken[kind])
