"""The command line that the tables share: names, heats, threads; every contest in a process of its own.

What is slow to make, our deployments and the networks as peers want them, is kept in `--conversions`. So a long table
is measured in short windows on a quiet machine: once with `--prepare`, which times nothing, then with `--resume`.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from bench.catalogue import Case
from bench.records import HERE, RESULTS, join, read, write
from bench.standings import SPEEDUP
from bench.trial import HEATS, Extra, in_batches, trial
from bench.workers import DENSE
from spokeshave.errors import SpokeshaveError
from spokeshave.measure.interleave import CLOCKS

CLOCK_HELP = (
    "processor time is the fairer clock for one thread on a shared machine; more threads have wall time"
)
KEYS = ("network", "heat", "threads")


def main(module: str, about: str, cases: Mapping[str, Case], extra: Extra | None = None) -> int:
    """Run `python -m bench.MODULE`; results go to bench/results/MODULE.json."""
    parser = _parser(module, about, cases)
    arguments = parser.parse_args()
    wanted = product(arguments.network or list(cases), arguments.heat, arguments.threads)
    measured = _measured(arguments.output) if arguments.resume else set()
    contests = [one for one in wanted if (in_batches(one[0], arguments.batch), *one[1:]) not in measured]
    if len(contests) > 1:
        options = _options(parser, arguments)
        commands = [
            [
                sys.executable,
                "-m",
                f"bench.{module}",
                network,
                "--heat",
                heat,
                "--threads",
                str(threads),
                *options,
            ]
            for network, heat, threads in contests
        ]
        return max(subprocess.run(command, check=False).returncode for command in commands)
    try:
        for network, heat, threads in contests:
            record = trial(cases[network], heat, threads, arguments, extra)
            if record is not None:
                collect(arguments.output, about, record)
    except SpokeshaveError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measured(path: Path) -> set[tuple[Any, ...]]:
    return {tuple(run[key] for key in KEYS) for run in read(path)["runs"]}


def _options(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> list[str]:
    """The options again as words, without those that name the contest."""
    words: list[str] = []
    for action in parser._actions:
        value = getattr(arguments, action.dest, None)
        if not action.option_strings or action.dest in (*KEYS, "help", "resume") or value == action.default:
            continue
        values = value if isinstance(value, list) else [] if value is True else [value]
        words += [action.option_strings[0], *map(str, values)]
    return words


def _parser(module: str, about: str, cases: Mapping[str, Case]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="*", choices=[*cases, []], help="all of them otherwise")
    parser.add_argument("--heat", nargs="+", choices=HEATS, default=list(HEATS), help="both otherwise")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--compression", type=float, nargs="+", help="1 is dense; those of the heat otherwise"
    )
    parser.add_argument("--precision", nargs="+", default=["fp32", "int8"], help="of our deployments")
    parser.add_argument("--tune", action="store_true", help="time our schedules on this machine first")
    parser.add_argument(
        "--peer",
        nargs="+",
        choices=DENSE,
        help="otherwise all; in the second heat those close to the fastest",
    )
    parser.add_argument("--batch", type=int, default=1, help="samples of a call (1)")
    window_options(parser, module)
    return parser


def window_options(parser: argparse.ArgumentParser, module: str) -> None:
    """Options of every bench that can be measured in short windows."""
    parser.add_argument("--rounds", type=int, default=9, help="of the interleaved run (9)")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="begin no further round after so many"
    )
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help=CLOCK_HELP)
    parser.add_argument(
        "--prepare", action="store_true", help="make and keep what is timed later; time nothing"
    )
    parser.add_argument("--resume", action="store_true", help="leave out what the result file holds")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{module}.json")
    parser.add_argument(
        "--conversions", type=Path, default=HERE / "conversions", help="folder that keeps what was made"
    )


def collect(path: Path, about: str, record: dict[str, Any]) -> None:
    """Join a record with those of the result file, and all standings in one table, `rows`.

    The second heat's standings count; where it lacked the peer that was the best of the first, the lower ones do.
    """
    document = join(path, record, KEYS)
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in sorted(document["runs"], key=lambda run: list(HEATS).index(run["heat"])):
        present = {contender["label"] for contender in run["contenders"]}
        for row in run["rows"]:
            key = (run["network"], run["threads"], row["precision"], row["compression"])
            first = rows.get(key)
            if first is None or first["best_peer"] in present or row[SPEEDUP] < first[SPEEDUP]:
                rows[key] = {"network": run["network"], "threads": run["threads"], **row}
    ordered = [rows[key] for key in sorted(rows)]
    write(path, {"about": about.strip().splitlines()[0], "rows": ordered, "runs": document["runs"]})
