"""An FPGA with the engine that was made for a network, as a device file of its own."""

import json
from pathlib import Path

from spokeshave.atomic import write_atomically
from spokeshave.devices.figure import Fact, Figure
from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.read import LANES, SIZES

TABLE = """
[{key}]
value = {value}
{unit}status = "{status}"
source = {source}
"""


def write_fpga(device: FPGADevice, path: Path, source: str) -> None:
    """Write the device with its engine's sizes, marked as inferred by `source`; `load_device(str(path))` reads it."""
    engine = device.engine
    sizes = {kind: getattr(engine.lanes, kind) for kind in LANES} | {
        name: getattr(engine, name) for name in SIZES
    }
    entries: dict[str, Figure | Fact] = {**device.figures, **device.facts}
    entries |= {key: Figure(value, "1", "inferred", source) for key, value in sizes.items()}
    head = f'name = {_text(path.stem)}\nabout = {_text(device.about)}\nfamily = "fpga"\n'
    write_atomically(path, head + "".join(_table(key, entry) for key, entry in entries.items()))


def _table(key: str, entry: Figure | Fact) -> str:
    unit = f'unit = "{entry.unit}"\n' if isinstance(entry, Figure) else ""
    marks = {"status": entry.status, "source": _text(entry.source)}
    return TABLE.format(key=key, value=_value(entry.value), unit=unit, **marks)


def _value(value: float | str | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """A text as a basic string of TOML, whose escapes are those of JSON but for the last of ASCII."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
