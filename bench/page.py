"""The result files as one page, docs/benchmarks.md, with charts beside the results.

    python -m bench.page

Everything on the page comes from bench/results/*.json; why we lose where we lose is written in bench/reasons.toml.
"""

import argparse
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

from bench.plots import write_plots
from bench.records import HERE, RESULTS, read
from bench.tables import (
    ablation_table,
    ceiling_table,
    cost_table,
    goal_table,
    layer_rate_table,
    loss_table,
    peer_table,
    speedup_table,
)

PAGE = HERE.parent / "docs" / "benchmarks.md"
NAMES = ("networks", "layers", "ceilings", "ablation", "costs")


def page(results: Path, target: Path) -> str:
    """The page's text; charts are written into the folder of the results."""
    documents = {name: read(results / f"{name}.json") for name in NAMES}
    networks, layers, ceilings = (documents[name] for name in ("networks", "layers", "ceilings"))
    reasons = tomllib.loads((HERE / "reasons.toml").read_text())
    goals = tomllib.loads((HERE / "goals.toml").read_text())
    parts = {
        "machine": machine(networks),
        "goals": goal_table(networks, goals),
        "networks": "\n\n".join(speedup_tables(networks)),
        "network_peers": peer_table(networks, 1),
        "network_charts": charts("networks", networks, results, target),
        "layers": "\n\n".join(speedup_tables(layers)),
        "layer_rates": layer_rate_table(layers, ceilings),
        "layer_peers": peer_table(layers, 1),
        "layer_charts": charts("layers", layers, results, target),
        "ceilings": ceiling_table(ceilings),
        "ablation": ablation_table(documents["ablation"]),
        "costs": cost_table(documents["costs"]),
        "losses": loss_table([networks, layers], reasons),
    }
    return Template((HERE / "page.md").read_text()).substitute(parts)


def speedup_tables(document: dict[str, Any]) -> Iterator[str]:
    """One table for each number of threads and class of precision."""
    for threads in sorted({row["threads"] for row in document.get("rows", [])}):
        for precision in ("fp32", "best"):
            yield speedup_table(document, threads, precision)


def charts(name: str, document: dict[str, Any], results: Path, target: Path) -> str:
    """The charts of a result file as images of the page."""
    if not document["runs"]:
        return "(not measured yet)"
    files = write_plots(name, document, results)
    return "\n".join(
        f"![{path.stem}]({Path(os.path.relpath(path, target.parent)).as_posix()})"
        for path in files["speedups"]
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
    names = ("DeepSparse", "LiteRT", "MNN")
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
