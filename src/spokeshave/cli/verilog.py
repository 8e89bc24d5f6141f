"""`spokeshave verilog`: a layer of a deployment as Verilog, with a testbench and what must come out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from spokeshave.cli.arguments import DataName
from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

EXAMPLE = "Example: spokeshave verilog runs/whole --layer conv1 --device zcu102 --data cifar10 --output rtl"
SIZES = "columns", "depth", "positions", "load_bytes", "outputs"


def verilog(
    deployment: Annotated[Path, typer.Argument(help="A saved deployment in whole numbers (deploy).")],
    layer: Annotated[str, typer.Option(help="The layer's name in the network.")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    device: Annotated[str, typer.Option(help="An FPGA, or its TOML file: its engine is taken.")] = "zcu102",
    engine: Annotated[
        str | None,
        typer.Option(help="Other lanes and sizes for it, such as 'int8=4 shift=4 columns=8 depth=16'."),
    ] = None,
    data: DataName = None,
    json: Json = False,
) -> None:
    """Write the engine that computes a layer, and the layer on a sample, as Verilog that simulates and synthesises."""
    from dataclasses import replace

    from spokeshave.cli.example import sample_for
    from spokeshave.compiler.integers import load_integer_deployment
    from spokeshave.devices import load_device
    from spokeshave.devices.fpga.device import FPGADevice
    from spokeshave.devices.fpga.engine import Engine, Lanes
    from spokeshave.devices.fpga.read import LANES
    from spokeshave.devices.fpga.verilog.folder import write_verilog

    found = load_device(device)
    if not isinstance(found, FPGADevice):
        raise SpokeshaveError(f"{device} is no FPGA; `spokeshave devices list` says which device is one")
    made: Engine = found.engine
    if engine is not None:
        given = _numbers(engine, (*LANES, *SIZES))
        lanes = {kind: count for kind, count in given.items() if kind in LANES}
        sizes: dict[str, Any] = {name: count for name, count in given.items() if name in SIZES}
        made = replace(made, lanes=Lanes(**lanes) if lanes else made.lanes, **sizes)
        found.with_engine(made)
    loaded = load_integer_deployment(deployment)
    written = write_verilog(loaded, layer, made, sample_for(loaded.manifest.inputs, data), output)
    if json:
        print_json({"output": str(output), "layer": layer, "modelled_cycles": written.modelled_cycles})
        return
    told = f"{output}: {layer} on {made.rows} lanes of {made.columns} columns, {written.modules} modules"
    for line in (told, f"{written.modelled_cycles} cycles (modelled); README.md there says how to simulate"):
        console().print(line, markup=False)


def _numbers(text: str, known: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for word in text.split():
        name, _, number = word.partition("=")
        if name not in known or not number.isdigit():
            raise SpokeshaveError(f"--engine takes name=number of {', '.join(known)}, not {word!r}")
        found[name] = int(number)
    return found
