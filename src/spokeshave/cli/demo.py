"""`spokeshave demo`: the whole job by a built-in recipe."""

from pathlib import Path
from typing import Annotated, Any

import typer

from spokeshave.cli.fit import finish
from spokeshave.cli.output import Json

EXAMPLE = "Example: spokeshave demo digits"


def demo(
    name: Annotated[
        str,
        typer.Argument(
            help="A built-in recipe: digits, digits-forms, digits-aqfp, digits-integers, digits-phone, cifar10 ..."
        ),
    ] = "digits",
    output: Annotated[
        Path | None, typer.Option(help="Run folder; runs/demo for digits, runs/NAME otherwise.")
    ] = None,
    json: Json = False,
) -> None:
    """Do the whole job with a built-in recipe: a fresh run, or the rest of one that was interrupted."""
    folder = output or Path("runs") / ("demo" if name == "digits" else name)
    finish(folder, json, lambda watcher: _work(name, folder, watcher))


def _work(name: str, folder: Path, watcher: Any) -> dict[str, Any]:
    from spokeshave.fit import builtin_recipe, open_run, resume_run, start_run
    from spokeshave.fit.recipe import Recipe
    from spokeshave.fit.run_folder import RECIPE, is_run

    recipe = builtin_recipe(name)
    if is_run(folder):
        run = open_run(folder)
        same = Recipe.from_yaml(run.read_text(RECIPE)) == recipe
        if same and not run.read_state().finished:
            return resume_run(folder, watcher)
    return start_run(recipe, folder, f"spokeshave demo {name}", watcher, replace=True)
