"""What a paper's check found: claims beside measurements, as a table and as JSON."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from bench import records
from spokeshave.measure import describe_machine

HERE = Path(__file__).parent
BEGINS = "its claims begin with"
Verdict = Literal["reproduced", "not reproduced", "differs"]


@dataclass(frozen=True)
class Finding:
    """A claim, what was published for it, what was measured here, and the verdict with its reason.

    `published` is empty where the paper gives no number that was seen; a number that is only remembered is never put
    there. `control`: the claim is ours, not the paper's, such as that a choice beats a random one; it is counted apart.
    """

    claim: str
    published: str
    measured: str
    verdict: Verdict
    note: str = ""
    control: bool = False


@dataclass(frozen=True)
class Check:
    """Everything that a check found; `differences`: what is smaller or other than in the paper; `data`: its figures."""

    findings: tuple[Finding, ...]
    differences: tuple[str, ...]
    seeds: tuple[int, ...]
    data: Mapping[str, object]


def main(name: str, about: str, run: Callable[[bool], Check]) -> int:
    """The command line of a check: run it, print its table, and write papers/results/NAME.json.

    With `--quick` less is run, and nothing is written unless `--output` names a file.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small part, to see that it runs")
    parser.add_argument("--output", type=Path, help=f"otherwise papers/results/{name}.json")
    arguments = parser.parse_args()
    check = run(arguments.quick)
    output = arguments.output or (None if arguments.quick else HERE / "results" / f"{name}.json")
    if output is not None:
        write(name, check, output)
    Console().print(table(name, check.findings))
    for difference in check.differences:
        Console().print(f"differs from the paper: {difference}", markup=False)
    return 0


def take_no_arguments(about: str | None) -> None:
    """The command line of a further part of a check: `--help` is answered, and everything else refused."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.parse_args()


def write(name: str, check: Check, path: Path) -> None:
    """Write a check with its date, code and machine; what `add` put there stays, with a date and code of its own."""
    findings, parts = _further(path)
    found = asdict(check)
    document = {
        "name": name,
        "date": records.now(),
        "git_revision": records.git_revision(),
        "machine": asdict(describe_machine()),
        **found,
        "findings": [*found["findings"], *findings],
        "data": found["data"] | parts,
    }
    records.write(path, document)


def _further(path: Path) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The findings and figures that `add` put into a result."""
    document = json.loads(path.read_text()) if path.exists() else {"findings": [], "data": {}}
    parts = {
        name: part for name, part in document["data"].items() if isinstance(part, dict) and BEGINS in part
    }
    begins = tuple(part[BEGINS] for part in parts.values())
    return [one for one in document["findings"] if one["claim"].startswith(begins)], parts


def add(path: Path, begins: str, findings: Sequence[Finding], part: str, data: Mapping[str, object]) -> None:
    """Put what a further part of a check found into its result, with date and code of its own, and print it.

    Findings whose claims begin like the part's are replaced, and so are its figures.
    """
    document = json.loads(path.read_text())
    others = [one for one in document["findings"] if not one["claim"].startswith(begins)]
    document["findings"] = others + [asdict(one) for one in findings]
    document["data"][part] = {
        **data,
        BEGINS: begins,
        "date": records.now(),
        "git_revision": records.git_revision(),
    }
    records.write(path, document)
    for one in findings:
        print(f"{one.claim}: {one.measured} ({one.verdict})")


def table(name: str, findings: Sequence[Finding]) -> Table:
    """Claims beside measurements."""
    drawn = Table("claim", "published", "measured here", "verdict", "note", title=name)
    for finding in findings:
        judged = f"{finding.verdict} (our control)" if finding.control else finding.verdict
        drawn.add_row(finding.claim, finding.published or "-", finding.measured, judged, finding.note)
    return drawn


def verdict(holds: bool) -> Verdict:
    """Whether a claim held here."""
    return "reproduced" if holds else "not reproduced"
