"""A transformer block's latency by its tokens, measured here and modelled elsewhere -> bench/results/staircases.json.

    python -m bench.staircases [--output FILE]

One block of DeiT-tiny (width 192), from one token to 197: compiled and timed on this CPU (one thread; kept in the
user's cache folder), by a phone's roofline and by the cycle model of an FPGA's engine. Writes the record and a chart.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.records import RESULTS, join, provenance
from bench.token_counts import PATCHES, dense
from spokeshave.devices import load_device
from spokeshave.devices.staircase import block_staircase
from spokeshave.report.chart import Line, alone, line_chart
from spokeshave.tokens.blocks import find_blocks

DEVICES = {  # what they are called in the chart, and how they are drawn
    "host": ("measured", "own"),
    "galaxy-s20-cpu": ("S20 modelled", "peer"),
    "zcu102": ("ZCU102 modelled", "warm"),
}
COUNTS = (1, *range(5, PATCHES, 8), PATCHES + 1)


def chart(rows: Sequence[dict[str, Any]]) -> str:
    """Each device's time by tokens, of its time with all of them."""
    lines = []
    for row in rows:
        label, style = DEVICES[row["device"]]
        pairs = zip(row["counts"], row["seconds"], strict=True)
        points = tuple((count, seconds / row["seconds"][-1]) for count, seconds in pairs)
        lines.append(Line(label, points, style))
    ticks = [(share / 4, f"{share * 25} %") for share in range(5)]
    return alone(line_chart(lines, "A block's time by its tokens, measured and modelled", "tokens", ticks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULTS / "staircases.json")
    arguments = parser.parse_args()
    record, block = provenance(1), find_blocks(dense("deit_tiny"))[0]
    rows = [
        {"device": name} | asdict(block_staircase(block.module, block.width, COUNTS, load_device(name)))
        for name in DEVICES
    ]
    join(arguments.output, {"network": "deit_tiny", "rows": rows, "provenance": record}, ["network"])
    arguments.output.with_suffix(".svg").write_text(chart(rows))
    for row in rows:
        print(row["device"], row["kind"], [f"{1e6 * seconds:.0f}" for seconds in row["seconds"]])


if __name__ == "__main__":
    main()
