"""`spokeshave devices`: what a network can be fitted to."""

from typing import Annotated

import typer

from spokeshave.cli.output import Json, console, print_json

EXAMPLE = "Example: spokeshave devices show host"

app = typer.Typer(
    help="List the devices, or show one with its figures and their sources.", invoke_without_command=True
)


@app.callback()
def devices(context: typer.Context) -> None:
    """List the devices, or show one with its figures and their sources."""
    if context.invoked_subcommand is None:
        list_devices()


@app.command("list", epilog="Example: spokeshave devices list")
def list_devices(json: Json = False) -> None:
    """List the devices, and whether their costs are measured or modelled."""
    from spokeshave.devices import device_names, load_device
    from spokeshave.report.table import plain_table

    entries = [
        {"name": name, "kind": load_device(name).kind, "about": load_device(name).about}
        for name in device_names()
    ]
    if json:
        print_json(entries)
        return
    rows = [(entry["name"], entry["kind"], entry["about"]) for entry in entries]
    console().print(plain_table("Devices", ("name", "costs", "what it is"), rows))


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
