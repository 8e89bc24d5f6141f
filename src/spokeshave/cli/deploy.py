"""`spokeshave deploy`: a network as another device runs it, in a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spokeshave.cli.arguments import DataName, NetworkName, PlanFile, Shape, load_plan
from spokeshave.cli.example import check_takes, find_example
from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

if TYPE_CHECKING:
    from spokeshave.deployment import Cost, Deployment

EXAMPLE = (
    "Example: spokeshave deploy cifar10-resnet20 --device integers-shift --calibration cifar10 --output whole"
)


def deploy(
    network: NetworkName,
    device: Annotated[str, typer.Option(help="A device of `spokeshave devices`, or its TOML file.")],
    output: Annotated[Path, typer.Option(help="The folder to write.")],
    calibration: Annotated[
        str | None,
        typer.Option(help="Data whose training part shows devices of whole numbers what values there are."),
    ] = None,
    plan: PlanFile = None,
    shape: Shape = None,
    data: DataName = None,
    json: Json = False,
) -> None:
    """Write a network as the device runs it, which `evaluate` and `run` take, or as plain C for the device's CPU."""
    from spokeshave.compiler.artifact import check_artifact_folder
    from spokeshave.compiler.folder import check_output_folder
    from spokeshave.devices import HostDevice, RooflineDevice, load_device
    from spokeshave.devices.saved import marker_of
    from spokeshave.references import resolve_data, resolve_network

    target = load_device(device)
    if isinstance(target, HostDevice):
        raise SpokeshaveError(f"{device} is this machine; see `spokeshave compile`")
    if isinstance(target, RooflineDevice):
        check_artifact_folder(output)
    else:
        check_output_folder(output, marker=marker_of(target))
    found = resolve_network(network)
    example = find_example(network, found, shape, data or (calibration if shape is None else None))
    check_takes(network, found, example)
    schemes = load_plan(plan)
    shown = resolve_data(calibration).train if calibration is not None else None
    made = target.deploy(found, example, schemes, shown)
    made.save(output)
    record, lines = _described(made, output, device)
    if json:
        print_json(record)
        return
    lines[1:1] = _cost_lines(made.cost)
    for line in lines:
        console().print(line, markup=False)


def _cost_lines(cost: "Cost") -> list[str]:
    """What a sample costs, as far as the device says, and what is not counted."""
    from spokeshave.report import figures
    from spokeshave.report.caveats import left_out

    told = [
        text
        for value, text in (
            (cost.latency_seconds, figures.seconds(cost.latency_seconds)),
            (cost.energy_joules, figures.joules(cost.energy_joules)),
        )
        if value is not None
    ]
    if not told:
        return []
    sentence = f"{' and '.join(told)} a sample ({cost.kind}: {cost.source})"
    return [sentence, *left_out({"left_out": cost.left_out})]


def _described(made: "Deployment", output: Path, device: str) -> tuple[dict[str, Any], list[str]]:
    """What was written, as a record and as lines."""
    from spokeshave.compiler.integers import IntegerDeployment
    from spokeshave.devices.crossbars.aqfp_deployment import AQFPDeployment

    if isinstance(made, AQFPDeployment):
        columns = made.manifest.columns
        read = f"on columns of {columns.height} cells, read for {columns.stream} clocks"
        told = f"{len(made.manifest.binary)} binary layers {read}"
        record = {"output": str(output), "device": device, "float32": dict(made.cost.left_out)}
        return record, [f"{output}: {told}"]
    if not isinstance(made, IntegerDeployment):
        return {"output": str(output), "device": device}, [f"{output}: for {device}; see README.md there"]
    widest = max(made.manifest.accumulators, key=lambda entry: entry.bits)
    floats = dict(made.manifest.floats)
    bits = {entry.layer: entry.bits for entry in made.manifest.accumulators}
    record = {"output": str(output), "device": device, "accumulator_bits": bits, "float32": floats}
    told = f"whole numbers for {device}; the widest sums, of {widest.layer}, take {widest.bits} bits"
    kept = [f"stays float32: {layer}, {reason}" for layer, reason in floats.items()]
    return record, [f"{output}: {told}", *kept]
