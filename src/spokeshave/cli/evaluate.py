"""`spokeshave evaluate`: accuracy of a saved deployment."""

from pathlib import Path
from typing import Annotated

import typer

from spokeshave.cli.output import Json, console, print_json

EXAMPLE = "Example: spokeshave evaluate runs/demo/deployment --data digits"


def evaluate(
    deployment: Annotated[Path, typer.Argument(help="A saved deployment.")],
    data: Annotated[str, typer.Option(help="A callable that gives (train, held_out), or a built-in name.")],
    json: Json = False,
) -> None:
    """Measure the top-1 accuracy of a saved deployment on the held-out part of the data."""
    from spokeshave.devices.saved import load_saved
    from spokeshave.measure.accuracy import evaluate as measure
    from spokeshave.references import resolve_data

    accuracy = measure(load_saved(deployment), resolve_data(data).held_out)
    if json:
        print_json({"accuracy": accuracy.top1, "correct": accuracy.correct, "total": accuracy.total})
        return
    console().print(f"{accuracy.top1:.2%} of {accuracy.total} held-out samples ({accuracy.correct} correct)")
