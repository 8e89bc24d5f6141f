"""`spokeshave profile`: where a network spends its time and weights on a device."""

from dataclasses import asdict
from typing import Annotated

import typer

from spokeshave.cli.arguments import DataName, NetworkName, PlanFile, Shape, load_plan
from spokeshave.cli.example import find_example
from spokeshave.cli.output import Json, console, print_json

EXAMPLE = "Example: spokeshave profile cifar10-resnet20 --shape 3x32x32 --device host"


def profile(
    network: NetworkName,
    device: Annotated[str, typer.Option(help="A device of `spokeshave devices`, or its TOML file.")] = "host",
    plan: PlanFile = None,
    shape: Shape = None,
    data: DataName = None,
    json: Json = False,
) -> None:
    """Show each layer's weights, multiply-adds and time on a device."""
    from spokeshave.devices import load_device
    from spokeshave.devices.profile import profile as profile_on
    from spokeshave.references import resolve_network
    from spokeshave.report.table import profile_table

    found = resolve_network(network)
    example = find_example(network, found, shape, data)
    result = profile_on(found, example, load_device(device), load_plan(plan))
    if json:
        print_json(asdict(result))
        return
    console().print(profile_table(asdict(result)))
