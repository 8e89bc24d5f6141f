"""`spokeshave report`: the page or the chart of a finished run."""

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

EXAMPLE = "Example: spokeshave report runs/demo --svg docs/demo.svg"


def report(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    html: Annotated[Path | None, typer.Option(help="Write the page to this file.")] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Write the chart of times beside the peers to this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Show a finished run again, as a table, a page, or a chart for a README."""
    from spokeshave.report.chart import alone
    from spokeshave.report.charts import time_chart
    from spokeshave.report.page import page
    from spokeshave.report.table import run_tables

    result = read_result(run)
    if html is not None:
        _write(html, page(result))
    if svg is not None:
        if "table" not in result:
            raise SpokeshaveError(
                f"the run {run} is for a modelled device; it has no times beside peers to draw"
            )
        _write(svg, alone(time_chart(result)))
    if json:
        print_json(result)
        return
    console().print(*run_tables(result), sep="\n")


def read_result(run: Path) -> dict[str, Any]:
    """The result of a finished run; raises SpokeshaveError when there is none."""
    from spokeshave.fit.run_folder import RESULT, open_run

    folder = open_run(run)
    if not folder.finished:
        raise SpokeshaveError(f"the run {run} is not finished; go on with it: spokeshave fit --resume {run}")
    try:
        return json_module.loads(folder.read_text(RESULT))
    except ValueError as error:
        raise SpokeshaveError(f"the run {run} is damaged: {RESULT} is no JSON ({error})") from error


def _write(path: Path, text: str) -> None:
    from spokeshave.atomic import write_atomically

    try:
        write_atomically(path, text)
    except OSError as error:
        raise SpokeshaveError(f"could not write {path}: {(error.strerror or str(error)).lower()}") from error
