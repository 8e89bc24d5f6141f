"""Arguments and options that several verbs share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spokeshave.plan import Plan

NetworkName = Annotated[
    str, typer.Argument(help="module:callable, path/to/file.py:callable, .pt2, built-in name.")
]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="The plan in whose schemes the weights lie.")]
Shape = Annotated[
    str | None,
    typer.Option(
        help="Shape of one sample, such as 3x224x224; several inputs with commas between; 128:int64 for integers."
    ),
]
DataName = Annotated[str | None, typer.Option("--data", help="Take the sample from this data instead.")]


def load_plan(path: Path | None) -> "Plan | None":
    """The plan of that file, when one is named."""
    from spokeshave.plan import Plan

    return Plan.load(path) if path is not None else None
