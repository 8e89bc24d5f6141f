"""`spokeshave devices`: what a network can be fitted to."""

from pathlib import Path
from typing import Annotated, Any

import typer

from spokeshave.cli import engine, selector
from spokeshave.cli.arguments import DataName, NetworkName, PlanFile, Shape, load_plan
from spokeshave.cli.example import find_example
from spokeshave.cli.output import Json, console, print_json, writing

EXAMPLE = "Example: spokeshave devices show host"

app = typer.Typer(
    help="List the devices, or show one with its figures and their sources.", invoke_without_command=True
)


app.command("engine", epilog=engine.EXAMPLE)(engine.engine)
app.command("selector", epilog=selector.EXAMPLE)(selector.selector)


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


@app.command("compare", epilog="Example: spokeshave devices compare cifar10-resnet20 --shape 3x32x32")
def compare(
    network: NetworkName,
    device: Annotated[
        list[str] | None,
        typer.Option(help="A device or TOML file, once for each; all modelled ones otherwise."),
    ] = None,
    plan: PlanFile = None,
    shape: Shape = None,
    data: DataName = None,
    svg: Annotated[Path | None, typer.Option(help="Write time and energy as a chart to this file.")] = None,
    json: Json = False,
) -> None:
    """Show what one sample of a network costs on several devices, or why a device cannot run it.

    A cost is that of the device's deployment; integer instructions that no deployment uses have a row of their own.
    """
    from spokeshave.devices import device_names, load_device
    from spokeshave.devices.catalogue import HOST
    from spokeshave.devices.roofline import ways
    from spokeshave.references import resolve_network
    from spokeshave.report.chart import alone
    from spokeshave.report.device_charts import cost_chart
    from spokeshave.report.table import cost_table
    from spokeshave.workload import trace

    found = resolve_network(network)
    workload = trace(found, find_example(network, found, shape, data))
    schemes = load_plan(plan)
    names = device or [name for name in device_names() if name != HOST]
    entries = [
        _cost(way, workload, schemes) for name in names for way in ways(load_device(name), workload, schemes)
    ]
    if svg is not None:
        with writing(svg):
            svg.write_text(alone(cost_chart(network, entries)))
    if json:
        print_json(entries)
        return
    console().print(cost_table(network, entries))


def _cost(device: Any, workload: Any, plan: Any) -> dict[str, Any]:
    """The cost on one device, or the reason why there is none."""
    from dataclasses import asdict

    from spokeshave.errors import SpokeshaveError

    try:
        return {"name": device.name, "reason": "", **asdict(device.cost(workload, plan))}
    except SpokeshaveError as reason:
        return {"name": device.name, "kind": device.kind, "reason": str(reason)}
