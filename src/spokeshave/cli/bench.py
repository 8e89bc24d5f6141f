"""`spokeshave bench`: side by side with what people use today."""

from pathlib import Path
from typing import Annotated

import typer

from spokeshave.cli.arguments import DataName, Shape
from spokeshave.cli.example import find_example
from spokeshave.cli.output import Json, console, print_json

EXAMPLE = "Example: spokeshave bench cifar10-resnet20 --shape 3x32x32 --peer eager --peer onnxruntime"


def bench(
    network: Annotated[str, typer.Argument(help="The dense network, which the peers run.")],
    deployment: Annotated[
        Path | None, typer.Option(help="A saved deployment; by default the network is compiled.")
    ] = None,
    shape: Shape = None,
    data: DataName = None,
    peer: Annotated[
        list[str] | None, typer.Option(help="A peer to run; all that are installed otherwise.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of every contender.")] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of the interleaved run.")] = 15,
    json: Json = False,
) -> None:
    """Time a deployment beside the installed peers running the dense network, in one interleaved run."""
    from spokeshave.compiler import compile_network, load_deployment
    from spokeshave.measure.side_by_side import side_by_side
    from spokeshave.references import resolve_network
    from spokeshave.report.table import comparison_table

    found = resolve_network(network)
    example = find_example(network, found, shape, data)
    ours = load_deployment(deployment) if deployment is not None else compile_network(found, example)
    ours.threads = threads
    comparison = side_by_side(ours, found, example, threads=threads, rounds=rounds, peers=peer or None)
    document = comparison.as_dict()
    if json:
        print_json(document)
        return
    machine = comparison.machine
    caption = (
        f"{machine.cpu}, {machine.isa}, {threads} thread{'s' if threads > 1 else ''}; measured in one run"
    )
    out = console()
    out.print(comparison_table(document["table"], caption))
    for absent in comparison.absent:
        out.print(f"not in the run: {absent.name} ({absent.reason})", markup=False)
