"""`spokeshave papers`: the published systems, what was checked here, and the checks themselves."""

import json as json_format
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from spokeshave.cli.output import Json, console, print_json
from spokeshave.errors import SpokeshaveError

EXAMPLE = "Example: spokeshave papers run opq --quick"
CHECKOUT = Path(__file__).parents[3]

app = typer.Typer(help="The published systems, and their checks.", invoke_without_command=True)


@app.callback()
def papers(context: typer.Context, json: Json = False) -> None:
    """List the published systems with the state and date of their checks here."""
    if context.invoked_subcommand is not None:
        return
    entries = [_entry(name, about) for name, about in _index().items()]
    if json:
        print_json(entries)
        return
    from spokeshave.report.table import plain_table

    rows = [(e["name"], e["title"], e["source"], e["state"], e["date"]) for e in entries]
    console().print(plain_table("Published systems", ("name", "title", "source", "state", "date"), rows))


@app.command("run", epilog=EXAMPLE)
def run(
    name: Annotated[str, typer.Argument(help="A system of `spokeshave papers` that has a check.")],
    quick: Annotated[bool, typer.Option("--quick", help="A small part, to see that it runs.")] = False,
) -> None:
    """Run a system's check: the published claim beside what is measured here, and JSON in papers/results."""
    index = _index()
    known = [entry for entry, about in index.items() if about.get("check")]
    if name not in index:
        raise SpokeshaveError(f"there is no system {name!r}; see `spokeshave papers`")
    if name not in known:
        raise SpokeshaveError(f"{name} has no check yet; there are {', '.join(known)}")
    command = [sys.executable, "-m", f"papers.{name}", *(["--quick"] if quick else [])]
    code = subprocess.run(command, cwd=CHECKOUT, check=False).returncode
    if code:
        raise SpokeshaveError(f"the check of {name} ended with exit code {code}")


def _index() -> dict[str, Any]:
    path = CHECKOUT / "papers" / "index.toml"
    if not path.is_file():
        raise SpokeshaveError(
            "the papers' checks are in the repository, not in the installed package: clone it"
        )
    return tomllib.loads(path.read_text())


def _entry(name: str, about: dict[str, Any]) -> dict[str, Any]:
    result = CHECKOUT / "papers" / "results" / f"{name}.json"
    state, date = ("not run" if about.get("check") else "no check yet"), ""
    if result.is_file():
        document = json_format.loads(result.read_text())
        state, date = _state(document["findings"]), document["date"]
    return {"name": name, "title": about["title"], "source": about["source"], "state": state, "date": date}


def _state(findings: list[dict[str, Any]]) -> str:
    """How many of the paper's claims were reproduced, and how many controls of ours came out.

    >>> claim = {"verdict": "reproduced", "control": False}
    >>> _state([claim, claim | {"verdict": "differs"}, claim | {"control": True}])
    '1 of 2 claims reproduced, 1 of 1 controls of ours'
    """
    counts = []
    for control in (False, True):
        # a check that was last run before controls were told apart has none
        verdicts = [each["verdict"] for each in findings if each.get("control", False) == control]
        counts.append((verdicts.count("reproduced"), len(verdicts)))
    (reproduced, claims), (held, controls) = counts
    state = f"{reproduced} of {claims} claims reproduced"
    return f"{state}, {held} of {controls} controls of ours" if controls else state
