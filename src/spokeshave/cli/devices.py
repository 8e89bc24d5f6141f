"""`spokeshave devices`: what a network can be fitted to."""

from typing import Annotated

import typer

from spokeshave.cli import engine
from spokeshave.cli.output import Json, console, print_json

EXAMPLE = "Example: spokeshave devices show host"

app = typer.Typer(
    help="List the devices, or show one with its figures and their sources.", invoke_without_command=True
)


app.command("engine", epilog=engine.EXAMPLE)(engine.engine)


@app.callback()
def devices(context: typer.Context) -> None:
    """List the devices, or show one with its figures and their sources."""
    if context.invoked_subcommand is None:
        list_devices()


@app.command("list", epilog="Example: spokeshave devices list")
def list_devices(json: Json = False) -> None:
    """List the devices: the schemes that each can use, where its costs come from, what its deployment is."""
    from dataclasses import asdict

    from spokeshave.devices.capabilities import capabilities
    from spokeshave.report.table import device_table

    entries = [asdict(entry) for entry in capabilities()]
    if json:
        print_json(entries)
        return
    console().print(device_table(entries))


@app.command("show", epilog="Example: spokeshave devices show host")
def show(
    name: Annotated[str, typer.Argument(help="A device's name, or the TOML file of one.")], json: Json = False
) -> None:
    """Show a device's figures, each with its source."""
    from spokeshave.devices import load_device

    device = load_device(name)
    if json:
        print_json(
            {"name": device.name, "kind": device.kind, "about": device.about, "figures": device.describe()}
        )
        return
    console().print(device.describe(), markup=False, highlight=False)
