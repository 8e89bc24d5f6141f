"""`spokeshave verilog`: a layer of a deployment as Verilog, with a testbench and what must come out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spokeshave.cli.arguments import DataName
from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from spokeshave.devices.fpga.verilog.block_folder import BlockSettings
    from spokeshave.devices.fpga.verilog.folder import Written

EXAMPLE = "Example: spokeshave verilog runs/whole --layer conv1 --device zcu102 --data cifar10 --output rtl"
SIZES = "columns", "depth", "positions", "load_bytes", "outputs"
CSB, BLOCK_SIZES = "csb", ("lanes", "columns")
MOST_DIGITS = 12


def verilog(
    deployment: Annotated[Path, typer.Argument(help="A saved deployment in whole numbers (deploy).")],
    layer: Annotated[str, typer.Option(help="The layer's name in the network.")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    device: Annotated[str, typer.Option(help="An FPGA, or its TOML file: its engine is taken.")] = "zcu102",
    engine: Annotated[
        str | None,
        typer.Option(
            help="Other lanes and sizes for it, such as 'int8=4 shift=4 columns=8 depth=16', or 'binary=32 columns=64' "
            "for signs; or 'csb block=32x64 lanes=4 columns=8', the engine for compressed_blocks."
        ),
    ] = None,
    data: DataName = None,
    json: Json = False,
) -> None:
    """Write the engine that computes a layer, and the layer on a sample, as Verilog that simulates and synthesises."""
    from dataclasses import replace

    from spokeshave.cli.example import sample_for
    from spokeshave.compiler.integers import load_integer_deployment
    from spokeshave.devices import load_device
    from spokeshave.devices.fpga.device import LANES, FPGADevice
    from spokeshave.devices.fpga.engine import Engine, Lanes
    from spokeshave.devices.fpga.verilog.block_folder import write_block_verilog
    from spokeshave.devices.fpga.verilog.folder import write_verilog

    found = load_device(device)
    if not isinstance(found, FPGADevice):
        raise SpokeshaveError(f"{device} is no FPGA; `spokeshave devices list` says which device is one")
    settings = None
    if engine is not None and not engine.strip():
        raise SpokeshaveError("--engine is empty; leave it out for the device's own engine")
    if engine is not None and engine.split()[:1] == [CSB]:
        settings = _block_settings(engine)
        found.check_dsp(f"a CSB engine of {settings.lanes} lanes of 2 x {settings.columns}", settings.dsp)
    loaded = load_integer_deployment(deployment)
    sample = sample_for(loaded.manifest.inputs, data)
    if settings is not None:
        written = write_block_verilog(loaded, layer, settings, sample, output)
        told = f"{layer} on the CSB engine, {settings.lanes} lanes of 2 x {settings.columns}"
        _tell(written, told, output, json)
        return
    made: Engine = found.engine
    if engine is not None:
        given = _numbers(engine, (*LANES, *SIZES))
        lanes = {kind: count for kind, count in given.items() if kind in LANES}
        sizes: dict[str, Any] = {name: count for name, count in given.items() if name in SIZES}
        made = replace(made, lanes=Lanes(**lanes) if lanes else made.lanes, **sizes)
        found.with_engine(made)
    written = write_verilog(loaded, layer, made, sample, output)
    _tell(written, f"{layer} on {made.rows} lanes of {made.columns} columns", output, json)


def _tell(written: "Written", told: str, output: Path, json: bool) -> None:
    if json:
        cycles = written.modelled_cycles
        print_json({"output": str(output), "layer": written.layer, "modelled_cycles": cycles})
        return
    for line in (
        f"{output}: {told}, {written.modules} modules",
        f"{written.modelled_cycles} cycles (modelled); README.md there says how to simulate",
    ):
        console().print(line, markup=False)


def _block_settings(text: str) -> "BlockSettings":
    """Of `csb block=ROWSxCOLUMNS lanes=N columns=N`."""
    from spokeshave.devices.fpga.verilog.block_folder import BlockSettings

    words = text.split()[1:]
    blocks = [word.partition("=")[2].split("x") for word in words if word.startswith("block=")]
    if (
        len(blocks) != 1
        or len(blocks[0]) != 2
        or not all(_is_number(part) and int(part) for part in blocks[0])
    ):
        raise SpokeshaveError(f"--engine csb needs the plan's blocks, such as block=32x64, and got {text!r}")
    sizes = _numbers(" ".join(word for word in words if not word.startswith("block=")), BLOCK_SIZES)
    if 0 in sizes.values():
        raise SpokeshaveError(f"lanes and columns of --engine csb are 1 or more, not those of {text!r}")
    return BlockSettings((int(blocks[0][0]), int(blocks[0][1])), **sizes)


def _numbers(text: str, known: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in text.split():
        name, _, number = word.partition("=")
        if name not in known or not _is_number(number):
            raise SpokeshaveError(f"--engine takes name=number of {', '.join(known)}, not {word!r}")
        if name in found:
            raise SpokeshaveError(f"--engine takes {name} once, not both {found[name]} and {number}")
        found[name] = int(number)
    return found


def _is_number(text: str) -> bool:
    """ASCII alone: `isdigit` is also true of a raised 2, which `int` refuses, as it does thousands of digits."""
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
