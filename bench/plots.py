"""Charts of the results, by the charts of the report -> bench/results/*.svg."""

import re
from math import ceil, floor
from pathlib import Path
from typing import Any

from bench.standings import widest_runs
from spokeshave.report.chart import Bar, Line, alone, bar_chart, line_chart, paired_chart
from spokeshave.report.figures import seconds, times

Run = dict[str, Any]
DRAWN_COMPRESSION = 10.0


def write_plots(name: str, document: dict[str, Any], folder: Path) -> dict[str, list[Path]]:
    """Write the charts of `networks` or `layers`; returns the files by what they show."""
    return {
        "speedups": [
            _write(folder / f"{name}-{threads}-threads.svg", speedup_chart(document["rows"], threads))
            for threads in sorted({row["threads"] for row in document["rows"]})
        ],
        "contenders": [
            _write(folder / f"{name}-{run['network']}.svg", contender_chart(run))
            for run in widest_runs(document, 1)
        ],
    }


def speedup_chart(rows: list[Run], threads: int) -> str:
    """For each network two bars: the speed-up at 10x within float32, and over the best of any precision."""
    chosen = [row for row in rows if row["threads"] == threads and row["compression"] == DRAWN_COMPRESSION]
    pairs = []
    for network in dict.fromkeys(row["network"] for row in chosen):
        bars = {row["precision"]: _speedup_bar(row) for row in chosen if row["network"] == network}
        if len(bars) == 2:
            pairs.append((f"{network}: float32, any precision", bars["fp32"], bars["best"]))
    words = "one thread" if threads == 1 else f"{threads} threads"
    return paired_chart(
        pairs, f"Speed-up at {DRAWN_COMPRESSION:g}x over the best dense peer, {words}, measured"
    )


def _speedup_bar(row: Run) -> Bar:
    value = row["speedup_over_best_dense_same_class"]
    style = "after" if row["precision"] == "fp32" else "before"
    return Bar(row["precision"], value, f"{times(value)} over {row['best_peer']}", style)


def contender_chart(run: Run) -> str:
    """Every contender's median time with quartiles, the fastest first."""
    bars = [
        Bar(
            label=one["label"],
            value=one["milliseconds"],
            text=seconds(one["milliseconds"] / 1e3),
            style="own" if one["own"] else "peer",
            whiskers=(one["lower_quartile"], one["upper_quartile"]),
        )
        for one in run["contenders"]
    ]
    return bar_chart(bars, f"{run['network']}: time of one sample, one thread, measured")


def write_memory_plot(document: dict[str, Any], path: Path) -> Path:
    """What is resident while experts are pruned, a line for each run that has a trace, and the limit."""
    runs = [run for run in document["runs"] if "trace" in run]
    lines = [
        Line(run["scheme"], tuple((at, size / 1e9) for at, size in run["trace"]), style, dotted=False)
        for run, style in zip(runs, ("own", "warm", "own"), strict=False)
    ]
    end = max(at for line in lines for at, _ in line.points)
    limit = max(run["limit_bytes"] for run in runs) / 1e9
    lines.append(Line("limit", ((0.0, limit), (end, limit)), "peer", dotted=False))
    ticks = [(float(size), f"{size} GB") for size in range(ceil(limit) + 1)]
    title = "Resident memory of pruning Mixtral-8x7B's layers, killed once and resumed, measured"
    return _write(path, line_chart(lines, title, "seconds", ticks))


def write_row_sharing_plot(run: Run, path: Path) -> Path:
    """Accuracy over time of a network whose column sets are shared by ever more rows, and of the dense one."""
    lines = [Line("dense", _points(run["rows"], "dense", ("int8", "float32")), "peer")]
    for precision, style in (("float32", "own"), ("int8", "warm")):
        for rate in sorted({row["scheme"].split()[-1] for row in run["rows"] if " rows " in row["scheme"]}):
            points = _points(run["rows"], rf"\d+ rows {rate}", (precision,))
            lines.append(Line(f"{precision} {rate}", points, style))
    heights = [height for line in lines for _, height in line.points]
    ticks = [(float(at), f"{at} %") for at in range(floor(min(heights)), ceil(max(heights)) + 1)]
    title = f"{run['about']}: accuracy over microseconds, 1 to 32 rows to a column set, measured"
    return _write(path, line_chart(lines, title, "microseconds", ticks))


def _points(rows: list[Run], scheme: str, precisions: tuple[str, ...]) -> tuple[tuple[float, float], ...]:
    """Microseconds and percent of the rows of those schemes, precision by precision."""
    return tuple(
        (round(1e3 * row["milliseconds"], 1), 100 * row["accuracy"])
        for precision in precisions
        for row in rows
        if row["precision"] == precision and re.fullmatch(scheme, row["scheme"])
    )


def _write(path: Path, svg: str) -> Path:
    path.write_text(alone(svg))
    return path
