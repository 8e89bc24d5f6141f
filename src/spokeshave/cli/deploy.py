"""`spokeshave deploy`: a network as a device of whole numbers computes it, in a folder."""

from pathlib import Path
from typing import Annotated

import typer

from spokeshave.cli.example import DataName, Shape, check_takes, find_example
from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

EXAMPLE = (
    "Example: spokeshave deploy cifar10-resnet20 --device integers-shift --calibration cifar10 --output whole"
)


def deploy(
    network: Annotated[
        str, typer.Argument(help="module:callable, path/to/file.py:callable, .pt2, built-in name.")
    ],
    device: Annotated[str, typer.Option(help="A device that computes with whole numbers, or its TOML file.")],
    calibration: Annotated[
        str, typer.Option(help="Data whose training part shows the device what values there are.")
    ],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    plan: Annotated[Path | None, typer.Option(help="The plan in whose schemes the weights lie.")] = None,
    shape: Shape = None,
    data: DataName = None,
    json: Json = False,
) -> None:
    """Put a network into the whole numbers of a device and save it; `evaluate` and `run` take the folder."""
    from spokeshave.compiler.folder import check_output_folder
    from spokeshave.compiler.integers import IntegerDeployment
    from spokeshave.compiler.integers.deployment import MARKER
    from spokeshave.devices import load_device
    from spokeshave.plan import Plan
    from spokeshave.references import resolve_data, resolve_network

    check_output_folder(output, marker=MARKER)
    found = resolve_network(network)
    example = find_example(network, found, shape, data)
    check_takes(network, found, example)
    schemes = Plan.load(plan) if plan is not None else None
    made = load_device(device).deploy(found, example, schemes, resolve_data(calibration).train)
    if not isinstance(made, IntegerDeployment):
        raise SpokeshaveError(f"{device} does not compute with whole numbers; see `spokeshave compile`")
    made.save(output)
    widest = max(made.manifest.accumulators, key=lambda entry: entry.bits)
    floats = dict(made.manifest.floats)
    if json:
        bits = {entry.layer: entry.bits for entry in made.manifest.accumulators}
        print_json({"output": str(output), "device": device, "accumulator_bits": bits, "float32": floats})
        return
    cost = made.cost
    lines = [
        f"{output}: whole numbers for {device}; the widest sums, of {widest.layer}, take {widest.bits} bits"
    ]
    if cost.latency_seconds is not None and cost.energy_joules is not None:
        told = f"{cost.latency_seconds * 1e6:.1f} µs and {cost.energy_joules * 1e6:.2f} µJ a sample"
        lines.append(f"{told} ({cost.kind}: {cost.source})")
    lines += [f"stays float32: {layer}, {reason}" for layer, reason in floats.items()]
    for line in lines:
        console().print(line, markup=False)
