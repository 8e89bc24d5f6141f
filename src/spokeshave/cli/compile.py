"""`spokeshave compile`: a network as native code, in a folder."""

from pathlib import Path
from typing import Annotated

import typer

from spokeshave.cli.example import DataName, Shape, find_example
from spokeshave.cli.output import Json, console, print_json

EXAMPLE = "Example: spokeshave compile my_networks.py:make_network --shape 3x32x32 --output deployed"


def compile(
    network: Annotated[
        str, typer.Argument(help="module:callable, path/to/file.py:callable, .pt2, built-in name.")
    ],
    output: Annotated[Path, typer.Option(help="The deployment folder to write.")],
    plan: Annotated[Path | None, typer.Option(help="The plan in whose schemes the weights lie.")] = None,
    shape: Shape = None,
    data: DataName = None,
    isa: Annotated[str | None, typer.Option(help="A lesser instruction set than this CPU's best.")] = None,
    json: Json = False,
) -> None:
    """Compile a network for this CPU and save the deployment: manifest, C source, weights, library."""
    from spokeshave.compiler import compile_network
    from spokeshave.compiler.folder import check_output_folder
    from spokeshave.plan import Plan
    from spokeshave.references import resolve_network
    from spokeshave.report import figures

    check_output_folder(output)
    found = resolve_network(network)
    example = find_example(network, found, shape, data)
    deployment = compile_network(found, example, Plan.load(plan) if plan is not None else None, isa)
    deployment.save(output)
    cost = deployment.cost
    foreign = [
        {"layer": stage.layer, "operator": stage.target, "reason": stage.reason}
        for stage in deployment.fallen_out
    ]
    if json:
        print_json(
            {
                "deployment": str(output),
                "isa": deployment.manifest.isa,
                "compiler": deployment.manifest.compiler,
                "latency_seconds": cost.latency_seconds,
                "weight_bytes": cost.weight_bytes,
                "run_by_pytorch": foreign,
            }
        )
        return
    out = console()
    latency = f"{figures.seconds(cost.latency_seconds)} a sample, measured at one thread"
    out.print(
        f"{output}: {deployment.manifest.isa}, {latency}, {figures.count(cost.weight_bytes)}B of weights"
    )
    for entry in foreign:
        out.print(
            f"  {entry['layer']} ({entry['operator']}) runs through PyTorch: {entry['reason']}", markup=False
        )
