"""The result files as one page, docs/benchmarks.md, with charts beside the results.

    python -m bench.page

Everything on the page comes from bench/results/*.json; why we lose where we lose is written in bench/reasons.toml.
"""

import argparse
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from string import Template
from typing import Any

from bench.accuracy_tables import row_sharing_tables, scheme_tables, token_curve_table
from bench.goals import goal_table, missed_table
from bench.plots import write_plots
from bench.rates import ceiling_table, rate_table
from bench.records import HERE, RESULTS, read
from bench.standings import absent_table, loss_table, losses, peer_table, reason_for, speedup_table
from bench.tables import ablation_table, cost_table, mixture_table, token_table, unread_table

PAGE = HERE.parent / "docs" / "benchmarks.md"
NAMES = (
    "networks",
    "layers",
    "ceilings",
    "ablation",
    "costs",
    "scheme_table",
    "row_sharing",
    "mixture_memory",
    "token_counts",
    "token_curves",
)


def page(results: Path, target: Path) -> str:
    """The page's text; charts are written into the folder of the results."""
    documents = {name: read(results / f"{name}.json") for name in NAMES}
    networks, layers, ceilings = (documents[name] for name in ("networks", "layers", "ceilings"))
    goals = tomllib.loads((HERE / "goals.toml").read_text())
    parts = {
        "machine": machine(networks),
        "network_goals": goal_table(networks.get("rows", []), goals["networks"]),
        "missed": missed_table([networks, layers], [goals["networks"], goals["layers"]], reasons("missed")),
        "networks": "\n\n".join(speedup_tables(networks)),
        "network_rates": "\n\n".join(rate_tables(networks, ceilings)),
        "network_peers": "\n\n".join(peer_tables(networks)),
        "unread": unread_table(read(RESULTS / "unread.json")),
        "network_charts": charts("networks", networks, results, target),
        "layer_goals": goal_table(layers.get("rows", []), goals["layers"]),
        "layers": "\n\n".join(speedup_tables(layers)),
        "layer_rates": "\n\n".join(rate_tables(layers, ceilings)),
        "layer_peers": "\n\n".join(peer_tables(layers)),
        "layer_charts": charts("layers", layers, results, target),
        "absent": absent_table([networks, layers]),
        "ceilings": ceiling_table(ceilings),
        "ablation": ablation_table(documents["ablation"]),
        "costs": cost_table(documents["costs"]),
        "row_sharing_charts": images(sorted(results.glob("row_sharing-*.svg")), target),
        "row_sharing": row_sharing_tables(documents["row_sharing"]),
        "schemes": scheme_tables(documents["scheme_table"]),
        "tokens": token_table(documents["token_counts"]),
        "token_curves": token_curve_table(documents["token_curves"]),
        "mixtures": mixture_table(documents["mixture_memory"]),
        "losses": loss_table([networks, layers], reasons("losses")),
    }
    return Template((HERE / "page.md").read_text()).substitute(parts)


def reasons(of: str) -> list[dict[str, Any]]:
    """What is known of why a peer is faster (`losses`), or a goal is not reached (`missed`)."""
    return tomllib.loads((HERE / "reasons.toml").read_text())[of]


def rate_tables(document: dict[str, Any], ceilings: dict[str, Any]) -> Iterator[str]:
    """One table for each number of threads and kind of arithmetic."""
    for threads in sorted({run["threads"] for run in document["runs"]}):
        for precision in ("fp32", "int8"):
            yield rate_table(document, ceilings, threads, precision)


def peer_tables(document: dict[str, Any]) -> Iterator[str]:
    """One table for each number of threads."""
    for threads in sorted({run["threads"] for run in document["runs"]}):
        yield peer_table(document, threads)


def speedup_tables(document: dict[str, Any]) -> Iterator[str]:
    """One table for each number of threads and class of precision."""
    for threads in sorted({row["threads"] for row in document.get("rows", [])}):
        for precision in ("fp32", "best"):
            yield speedup_table(document, threads, precision)


def charts(name: str, document: dict[str, Any], results: Path, target: Path) -> str:
    """The charts of a result file as images of the page."""
    if not document["runs"]:
        return "(not measured yet)"
    return images(write_plots(name, document, results)["speedups"], target)


def images(paths: Iterable[Path], target: Path) -> str:
    """Charts as images of the page."""
    return "\n".join(
        f"![{path.stem}]({Path(os.path.relpath(path, target.parent)).as_posix()})" for path in paths
    )


def machine(document: dict[str, Any]) -> str:
    """What the runs say of the machine and the versions; each run has its own date, code and load in the JSON."""
    runs = document["runs"]
    if not runs:
        return "(not measured yet)"
    found = runs[-1]["machine"]
    caches = ", ".join(f"{name} {size >> 10} KiB" for name, size in found["caches"].items())
    versions = dict(sorted({**found["versions"], **_peer_versions(runs)}.items()))
    dates, codes = (sorted({run[key] for run in runs}) for key in ("date", "git_revision"))
    loads = [run["load_average_before"] for run in runs]
    clocks = " and ".join(sorted({run["clock"] for run in runs}))
    load = f"{clocks} time; load average before a run {min(loads):.1f} to {max(loads):.1f}"
    return "\n".join(
        [
            f"- {found['cpu']}, {found['cores']} cores, kernels for {found['isa']}; {caches}; {found['system']}",
            f"- vector instructions: {', '.join(found['features'])}",
            f"- versions: {', '.join(f'{name} {text}' for name, text in versions.items())}",
            f"- measured {dates[0]} to {dates[-1]} at {', '.join(codes)}; {load}",
        ]
    )


def _peer_versions(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Versions of peers that live in environments of their own."""
    names = ("DeepSparse", "LiteRT", "MNN", "ncnn")
    return {
        one["name"].split(",")[0]: one["version"]
        for run in runs
        for one in run["contenders"]
        if one["name"].startswith(names)
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, default=PAGE)
    arguments = parser.parse_args()
    arguments.output.write_text(page(arguments.results, arguments.output))
    known = reasons("losses")
    for row in losses([read(arguments.results / f"{name}.json") for name in ("networks", "layers")]):
        if reason_for(row, known) is None:
            print(f"no reason: {row['network']}, {row['threads']} threads, {row['ours']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
