"""Result files, of benchmarks and of papers' checks: where a record was taken, and how single runs join in one file."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spokeshave.atomic import write_atomically
from spokeshave.measure import describe_machine

HERE = Path(__file__).parent
RESULTS = HERE / "results"
NO_RESULTS = (":!bench/results", ":!papers/results")


def provenance(threads: int) -> dict[str, Any]:
    """Command, code, time, load and machine of a measurement that is about to begin."""
    return {
        "command": command(sys.argv),
        "git_revision": git_revision(),
        "date": now(),
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


def now() -> str:
    """Date and time as records have them."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def git_revision() -> str:
    """The commit that is checked out, with a mark when the code differs from it; `unknown` outside of a checkout."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git(
        "status", "--porcelain", "--untracked-files=no", "--", "src", "bench", "papers", *NO_RESULTS
    )
    return f"{head} with changes" if changed else head or "unknown"


def _git(*arguments: str) -> str:
    finished = subprocess.run(
        ["git", *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False
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


def put(path: Path, sections: dict[str, Any]) -> None:
    """Put sections into a result file, in the place of those of the same names; what other runs put there stays."""
    write(path, (json.loads(path.read_text()) if path.exists() else {}) | sections)


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a result file; it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(document, indent=1) + "\n")
