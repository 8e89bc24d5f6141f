"""The command line that the tables share: names, threads, compressions; every name in a process of its own."""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.catalogue import Case
from bench.records import HERE, RESULTS, join, write
from bench.trial import Extra, trial
from bench.workers import DENSE
from spokeshave.errors import SpokeshaveError
from spokeshave.measure.interleave import CLOCKS

CLOCK_HELP = (
    "processor time is the fairer clock for one thread on a shared machine; more threads have wall time"
)
COMPRESSIONS = (1.0, 2.0, 4.0, 8.0, 10.0, 16.0)


def main(module: str, about: str, cases: Mapping[str, Case], extra: Extra | None = None) -> int:
    """Run `python -m bench.MODULE`; results go to bench/results/MODULE.json."""
    arguments, options = _parser(module, about, cases).parse_known_args()
    names = arguments.network or list(cases)
    if len(names) > 1:
        given = [option for option in sys.argv[1:] if option not in arguments.network]
        commands = [[sys.executable, "-m", f"bench.{module}", name, *given] for name in names]
        return max(subprocess.run(command, check=False).returncode for command in commands)
    if options:
        print(f"error: there is no option {options[0]}", file=sys.stderr)
        return 2
    try:
        collect(arguments.output, about, trial(cases[names[0]], arguments, extra))
    except SpokeshaveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser(module: str, about: str, cases: Mapping[str, Case]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="*", choices=[*cases, []], help="all of them otherwise")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--compression", type=float, nargs="+", default=COMPRESSIONS, help="1 is dense")
    parser.add_argument("--precision", nargs="+", default=["fp32", "int8"], help="of our deployments")
    parser.add_argument("--tune", action="store_true", help="time our schedules on this machine first")
    parser.add_argument("--rounds", type=int, default=9, help="of the interleaved run (9)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=CLOCK_HELP)
    parser.add_argument("--peer", action="append", choices=DENSE, help="all that are installed otherwise")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{module}.json")
    parser.add_argument(
        "--conversions", type=Path, default=HERE / "conversions", help="folder that keeps converted networks"
    )
    return parser


def collect(path: Path, about: str, records: list[dict[str, Any]]) -> None:
    """Join records with those of the result file, and all their standings in one table, `rows`."""
    document: dict[str, Any] = {}
    for record in records:
        document = join(path, record, ("network", "threads"))
    rows = [
        {"network": run["network"], "threads": run["threads"], **row}
        for run in document["runs"]
        for row in run["rows"]
    ]
    write(path, {"about": about.strip().splitlines()[0], "rows": rows, "runs": document["runs"]})
