"""Result documents as Markdown tables."""

from collections.abc import Iterable, Sequence
from typing import Any

from spokeshave.report.figures import seconds, times

Document = dict[str, Any]
CEILINGS = {"fp32": "f32_gflops", "bf16": "bf16_gflops", "int8": "vnni_int8_gops"}
DRAWN_COMPRESSION = 10.0
SPEEDUP = "speedup_over_best_dense_same_class"
MASKS = {"block": "neighbouring rows share their columns", "unstructured": "no structure"}
NOTHING = "(not measured yet)"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [heads, ["---"] * len(heads), *rows]
    drawn = ["| " + " | ".join(line) + " |" for line in lines]
    drawn[1] = drawn[1].replace(" ", "")
    return "\n".join(drawn)


def speedup_table(document: Document, threads: int, precision: str) -> str:
    """Our time and speed-up at every compression, beside the best dense peer."""
    chosen = [row for row in document["rows"] if (row["threads"], row["precision"]) == (threads, precision)]
    compressions = sorted({row["compression"] for row in chosen})
    rows = []
    for network in dict.fromkeys(row["network"] for row in chosen):
        own = {row["compression"]: row for row in chosen if row["network"] == network}
        some = next(iter(own.values()))
        peer = f"{some['best_peer']}, {_milliseconds(some['best_peer_milliseconds'])}"
        rows.append([network, peer, *(_speedup_cell(own.get(compression)) for compression in compressions)])
    words = "float32 only" if precision == "fp32" else "the best precision of each side"
    title = f"**{_threads(threads)}, {words}** (our time, and how many times faster than the best dense peer)"
    heads = ["", "best dense peer", *(_compression(compression) for compression in compressions)]
    return f"{title}\n\n{table(heads, rows)}"


def goal_table(document: Document, goals: dict[str, dict[str, float]]) -> str:
    """What we set ourselves beside what was measured, on one and two threads."""
    rows = []
    for network, goal in goals.items():
        compression = goal.get("compression", DRAWN_COMPRESSION)
        for precision in ("fp32", "best"):
            cells = [
                _goal_cell(document, network, threads, precision, compression, goal[precision])
                for threads in (1, 2)
            ]
            rows.append([network, _compression(compression), precision, *cells])
    return table(["network", "compression", "precision", "one thread", "two threads"], rows)


def _goal_cell(
    document: Document, network: str, threads: int, precision: str, compression: float, goal: float
) -> str:
    goal = goal if threads == 1 else 0.8 * goal
    for row in document.get("rows", []):
        found = (row["network"], row["threads"], row["precision"], row["compression"])
        if found == (network, threads, precision, compression):
            reached = row[SPEEDUP] >= goal
            return f"{times(row[SPEEDUP])} of {times(goal)}{', reached' if reached else ''}"
    return f"not measured, goal {times(goal)}"


def peer_table(document: Document, threads: int) -> str:
    """Every dense contender's time on every network."""
    runs = [run for run in document["runs"] if run["threads"] == threads]
    if not runs:
        return NOTHING
    labels = dict.fromkeys(
        one["label"] for run in runs for one in run["contenders"] if one["compression"] == 1 or not one["own"]
    )
    times_by = [{one["label"]: one["milliseconds"] for one in run["contenders"]} for run in runs]
    rows = [[label, *(_milliseconds(times.get(label)) for times in times_by)] for label in sorted(labels)]
    return table(["ms, " + _threads(threads).lower(), *(run["network"] for run in runs)], rows)


def layer_rate_table(layers: Document, ceilings: Document) -> str:
    """Effective rates (counting dense work) and the share of the core's peak that the kept weights use."""
    peaks = {run["threads"]: run["ceilings"] for run in ceilings["runs"]}
    runs = [run for run in layers["runs"] if run["threads"] == 1]
    if not runs or 1 not in peaks:
        return NOTHING
    compressions = sorted({one["compression"] for run in runs for one in run["contenders"] if one["own"]})
    rows = []
    for run in runs:
        cells = [_rate_cell(run, compression, peaks[1]) for compression in compressions]
        peer = min(
            (
                one
                for one in run["contenders"]
                if not one["own"] and (one["precision"], one["compression"]) == ("fp32", 1)
            ),
            key=lambda one: one["milliseconds"],
        )
        rows.append([run["network"], f"{peer['effective_gflops']:.0f} ({peer['name']})", *cells])
    heads = ["GFLOP/s, float32", "best dense peer", *map(_compression, compressions)]
    return table(heads, rows)


def _rate_cell(run: Document, compression: float, peaks: dict[str, float]) -> str:
    for one in run["contenders"]:
        found = (one["name"], one["precision"], one["compression"])
        if found == ("spokeshave", "fp32", compression):
            used = one["effective_gflops"] * one["kept_share"] / peaks[CEILINGS["fp32"]]
            return f"{one['effective_gflops']:.0f} ({used:.0%})"
    return "-"


def ceiling_table(document: Document) -> str:
    """What the machine can do at most, by number of threads."""
    if not document["runs"]:
        return NOTHING
    columns = [_ceiling_lines(run["ceilings"]) for run in document["runs"]]
    rows = [[name, *(column.get(name, "-") for column in columns)] for name in columns[0]]
    return table(["", *(_threads(run["threads"]).lower() for run in document["runs"])], rows)


def _ceiling_lines(ceilings: Document) -> dict[str, str]:
    names = {
        "f32_gflops": "float32 multiply-adds, GFLOP/s",
        "bf16_gflops": "vdpbf16ps, GFLOP/s",
        "vnni_int8_gops": "vpdpbusd (int8), GOP/s",
    }
    lines = {text: f"{ceilings[name]:.0f}" for name, text in names.items() if name in ceilings}
    for size, value in ceilings["load_gigabytes_a_second"].items():
        lines[f"loads from {size} KiB a thread, GB/s"] = f"{value:.0f}"
    return lines


def ablation_table(document: Document) -> str:
    """Each step adds one thing to the one above it."""
    if not document["runs"]:
        return NOTHING
    parts = []
    for run in document["runs"]:
        first = run["steps"][0]["milliseconds"]
        rows = [
            [step["name"], _milliseconds(step["milliseconds"]), times(first / step["milliseconds"])]
            for step in run["steps"]
        ]
        how = f"pruned {run['compression']:g}x, {MASKS[run['mask']]}"
        title = f"**{run['network']}**, {how}, one thread"
        parts.append(f"{title}\n\n{table(['', 'time', 'over the first'], rows)}")
    return "\n\n".join(parts)


def cost_table(document: Document) -> str:
    """Compile time, size and memory of each deployment, and what a call costs."""
    if not document["runs"]:
        return NOTHING
    rows = [_cost_cells(run) for run in document["runs"]]
    heads = ["", "", "export", "compile", "again", "packed / information", "resident / (weights + 1.3 live)"]
    overhead = max(run["call_overhead_microseconds"] for run in document["runs"])
    return f"{table(heads, rows)}\n\nA call costs {overhead:.1f} µs besides the native code, at most of these runs."


def _cost_cells(run: Document) -> list[str]:
    packed, information, resident = (
        run[f"{name}_bytes"] for name in ("packed", "information", "peak_resident")
    )
    bound = run["weight_bytes"] + 1.3 * run["largest_live_set_bytes"]
    return [
        run["network"],
        _compression(run["compression"]),
        *(seconds(run["seconds"][stage]) for stage in ("export", "cold", "again")),
        f"{_megabytes(packed)} / {_megabytes(information)} = {packed / information:.2f}",
        f"{_megabytes(resident)} / {_megabytes(bound)} = {resident / bound:.2f}",
    ]


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def loss_table(documents: Sequence[Document], reasons: dict[str, dict[str, str]]) -> str:
    """Where a dense peer is faster than ours at 4x or more, and why."""
    rows = [
        [
            row["network"],
            _threads(row["threads"]),
            row["precision"],
            _compression(row["compression"]),
            f"{times(row[SPEEDUP])} of {row['best_peer']}",
            reasons.get(row["network"], {}).get(row["precision"], "not understood yet"),
        ]
        for document in documents
        for row in document.get("rows", [])
        if row[SPEEDUP] < 1 and row["compression"] >= 4
    ]
    if not rows:
        return "Nowhere at 4x or more; the tables above show where at 2x and without pruning."
    return table(["", "threads", "precision", "compression", "our speed", "why"], rows)


def _speedup_cell(row: Document | None) -> str:
    if row is None:
        return "-"
    return f"{_milliseconds(row['milliseconds'])}, **{times(row[SPEEDUP])}**"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else seconds(value / 1e3)


def _compression(value: float) -> str:
    return "dense" if value == 1 else f"{value:g}x"


def _threads(count: int) -> str:
    return "One thread" if count == 1 else f"{count} threads"
