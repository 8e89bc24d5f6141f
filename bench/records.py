"""Result files: what every record says of where it was taken, and how records of single runs join in one file."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spokeshave.measure import describe_machine

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def provenance(threads: int) -> dict[str, Any]:
    """Command, code, time, load and machine of a measurement that is about to begin."""
    return {
        "command": command(sys.argv),
        "git_revision": git_revision(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_average_before": os.getloadavg()[0],
        "threads": threads,
        "machine": asdict(describe_machine(threads)),
    }


def command(arguments: Sequence[str]) -> str:
    """The command line without the places of its files, which differ from machine to machine.

    >>> command(["/there/bench/layers.py", "bert_ffn", "--output", "/tmp/one.json", "--rounds", "3"])
    'python -m bench.layers bert_ffn --rounds 3'
    """
    places = {
        position + step
        for position, word in enumerate(arguments)
        if word in ("--output", "--conversions", "--folder")
        for step in (0, 1)
    }
    words = [word for position, word in enumerate(arguments) if position not in places]
    return " ".join(["python -m", f"bench.{Path(words[0]).stem}", *words[1:]])


def git_revision() -> str:
    """The commit that is checked out, with a mark when the package or the benchmarks differ from it."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "bench", ":!bench/results")
    return f"{head} with changes" if changed else head


def _git(*arguments: str) -> str:
    finished = subprocess.run(
        ["git", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=True
    )
    return finished.stdout.strip()


def read(path: Path) -> dict[str, Any]:
    """A result file, or an empty one."""
    return json.loads(path.read_text()) if path.exists() else {"runs": []}


def join(path: Path, run: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Put a run into a result file in the place of an older one with the same `keys`; the file appears whole."""
    document = read(path)
    label = [run[key] for key in keys]
    others = [old for old in document["runs"] if [old[key] for key in keys] != label]
    document["runs"] = sorted([*others, run], key=lambda entry: [entry[key] for key in keys])
    write(path, document)
    return document


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a result file next to its place and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(path)
