"""`spokeshave fit`: the whole job, resumable."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

EXAMPLE = (
    "Example: spokeshave fit nets.py:network --data my_data.py:loaders --compression 8 --output runs/mine\n\n"
    "After an interruption: spokeshave fit --resume runs/mine"
)
INTERRUPTED = 130


def fit(
    network: Annotated[
        str | None,
        typer.Argument(help="module:callable, path/to/file.py:callable, Hugging Face id, built-in name."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A callable that gives (train, held_out), or a built-in name.")
    ] = None,
    plan: Annotated[str | None, typer.Option(help="A plan's YAML file, or a built-in plan.")] = None,
    compression: Annotated[
        float | None, typer.Option(help="Instead of a plan: how many times fewer weights.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="A device of `spokeshave devices`.")] = None,
    method: Annotated[
        str | None, typer.Option(help="admm, one_shot, quantization_aware, randomized_binary ...")
    ] = None,
    epochs_dense: Annotated[
        int | None, typer.Option(help="Epochs before pruning; 0 for a trained network.")
    ] = None,
    epochs_method: Annotated[int | None, typer.Option(help="Epochs of the method.")] = None,
    epochs_fine_tune: Annotated[
        int | None, typer.Option(help="Epochs with the pruned weights at zero.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of all three phases.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a step, for built-in data.")] = None,
    distillation: Annotated[
        bool | None, typer.Option(help="Let the dense network teach while pruning and fine-tuning.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the training; timing is always at one.")
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="A recipe's YAML file, or a built-in recipe; options override its entries."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The run folder to make.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder instead.")] = None,
    json: Json = False,
) -> None:
    """Train, prune, fine-tune, compile, check, evaluate, time and report, in one run folder."""
    given = {key: value for key, value in locals().items() if value is not None and key in ENTRIES}
    if resume is not None:
        if given or recipe or output:
            raise SpokeshaveError(
                "--resume goes on with the run's own recipe; give it alone (with --json if wanted)"
            )
        finish(resume, json, lambda watcher: _resume(resume, watcher))
        return
    if output is None:
        raise SpokeshaveError("name the run folder to make, for example --output runs/mine")
    document = _document(recipe, given)
    command = shlex.join(["spokeshave", *sys.argv[1:]])
    finish(output, json, lambda watcher: _start(document, output, command, watcher))


ENTRIES = {
    "network": ("network",),
    "data": ("data",),
    "plan": ("plan",),
    "compression": ("compression",),
    "device": ("device",),
    "method": ("method",),
    "epochs_dense": ("epochs", "dense"),
    "epochs_method": ("epochs", "method"),
    "epochs_fine_tune": ("epochs", "fine_tune"),
    "learning_rate": ("learning_rates",),
    "batch_size": ("batch_size",),
    "distillation": ("distillation",),
    "seed": ("seed",),
    "threads": ("threads",),
}
"""Where each option goes in a recipe."""


def finish(folder: Path, json: bool, work: Callable[[Any], dict[str, Any]]) -> None:
    """Do the work of a run under a progress display, then print its result."""
    from spokeshave.cli.progress import observer
    from spokeshave.report.table import run_tables

    try:
        with observer() as watcher:
            result = work(watcher)
    except KeyboardInterrupt:
        hint = f"; go on with: spokeshave fit --resume {folder}" if (folder / "state.json").exists() else ""
        print(f"interrupted{hint}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if json:
        print_json(result)
        return
    out = console()
    out.print(*run_tables(result), sep="\n")
    out.print(f"report: {folder / 'report.html'}   figures: {folder / 'result.json'}", soft_wrap=True)


def _start(document: dict[str, Any], output: Path, command: str, watcher: Any) -> dict[str, Any]:
    from spokeshave.fit import Recipe, start_run

    return start_run(Recipe.parse(document), output, command, watcher)


def _resume(folder: Path, watcher: Any) -> dict[str, Any]:
    from spokeshave.fit import resume_run

    return resume_run(folder, watcher)


def _document(recipe: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """The recipe's mapping with the given options in their places."""
    import os

    from spokeshave.references import absolute_reference

    document: dict[str, Any] = _read(recipe) if recipe is not None else {}
    document.setdefault("threads", os.cpu_count() or 1)
    for key, value in given.items():
        _put(document, ENTRIES[key], value)
    for key in ("network", "data"):
        if isinstance(document.get(key), str):
            document[key] = absolute_reference(document[key])
        else:
            raise SpokeshaveError(f"name the {key} to fit, for example: {EXAMPLE.splitlines()[0][9:]}")
    return document


def _read(recipe: Path) -> dict[str, Any]:
    from spokeshave.fit import builtin_recipe, builtin_recipe_names
    from spokeshave.fit.recipe import read_mapping

    if str(recipe) in builtin_recipe_names():
        return builtin_recipe(str(recipe)).model_dump(mode="json", exclude_none=True)
    if not recipe.is_file():
        known = ", ".join(builtin_recipe_names())
        raise SpokeshaveError(f"there is no recipe {recipe}; name a YAML file or one of {known}")
    return read_mapping(recipe.read_text(), str(recipe))


def _put(document: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    """Set an entry; a plan given by option replaces a compression in the recipe and the other way round."""
    if place == ("learning_rates",):
        value = dict.fromkeys(("dense", "method", "fine_tune"), value)
    if place[0] in ("plan", "compression"):
        document.pop("plan", None)
        document.pop("compression", None)
    for part in place[:-1]:
        document = document.setdefault(part, {})
    document[place[-1]] = value
