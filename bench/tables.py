"""Results of the ablation and of the costs as Markdown tables."""

from typing import Any

from bench.markdown import NOTHING, compression_name, milliseconds, table
from spokeshave.report.figures import seconds, times

Document = dict[str, Any]
MASKS = {"shuffled": "groups of rows share their columns and lie apart", "unstructured": "no structure"}


def ablation_table(document: Document) -> str:
    """Each step adds one thing to the one above it."""
    if not document["runs"]:
        return NOTHING
    parts = []
    for run in document["runs"]:
        first = run["steps"][0]["milliseconds"]
        rows = [
            [
                step["name"],
                milliseconds(step["milliseconds"]),
                times(first / step["milliseconds"]),
                str(step["operations"]),
                _megabytes(step["weight_bytes"]),
            ]
            for step in run["steps"]
        ]
        how = f"pruned {run['compression']:g}x, {MASKS[run['mask']]}"
        title = f"**{run['network']}**, {how}, one thread"
        parts.append(
            f"{title}\n\n{table(['', 'time', 'over the first', 'operations', 'weights and places'], rows)}"
        )
    return "\n\n".join(parts)


def cost_table(document: Document) -> str:
    """Compile time, size and memory of each deployment, and what a call costs."""
    if not document["runs"]:
        return NOTHING
    rows = [_cost_cells(run) for run in document["runs"]]
    heads = ["", "", "export", "compile", "again", "packed / information", "resident / (weights + 1.3 live)"]
    overheads = [run["call_overhead_microseconds"] for run in document["runs"]]
    most = ", ".join(f"{max(one[name] for one in overheads):.1f} µs with {name}" for name in overheads[-1])
    return f"{table(heads, rows)}\n\nA call costs besides the native code, at most of these runs: {most}."


def mixture_table(document: Document) -> str:
    """Memory and time of pruning the layers of a large mixture, by scheme."""
    if not document["runs"]:
        return NOTHING
    rows = [
        [
            run["scheme"],
            f"{run['peak_resident_bytes'] / 1e9:.2f} GB",
            f"{run['peak_resident_bytes'] / run['layer_bytes']:.2f}",
            f"{run['limit_bytes'] / 1e9:.2f} GB",
            ", ".join(seconds(value) for value in run.get("processor_seconds_per_layer", [])) or "-",
            ", ".join(seconds(value) for value in run["seconds_per_layer"]),
            "killed and resumed" if "killed_after_seconds" in run else "in one run",
        ]
        for run in document["runs"]
    ]
    heads = ["scheme", "peak resident", "layers", "limit", "processor time a layer", "wall time a layer", ""]
    return table(heads, rows)


def token_table(document: Document) -> str:
    """Vision transformers with selectors beside the same networks with all tokens, in each precision."""
    if not document["runs"]:
        return NOTHING
    rows = [_token_cells(run, label) for run in document["runs"] for label in run["selected"]]
    heads = ["", "", "tokens behind each", "fewer multiply-adds", "all tokens", "selected", "", "selectors"]
    return table(heads, rows)


def unread_table(document: Document) -> str:
    """What pruned networks lose besides their mask's zeros, since nothing reads it."""
    if not document.get("rows"):
        return NOTHING
    rows = [
        [
            row["network"],
            row["precision"],
            compression_name(row["compression"]),
            f"{row['left_out']:,} of {row['outputs']:,}",
            f"{row['kept']:.1%}",
            f"{row['used']:.1%}",
        ]
        for row in document["rows"]
    ]
    heads = [
        "",
        "masks of",
        "compression",
        "outputs left out",
        "weights that the mask keeps",
        "that are used",
    ]
    return table(heads, rows)


def _token_cells(run: Document, label: str) -> list[str]:
    dense, selected = (run["milliseconds"][name] for name in (label.replace("selected", "dense"), label))
    found = run["selected"][label]
    return [
        run["network"],
        label.removeprefix("selected").strip() or "float32",
        ", ".join(map(str, found["tokens"])),
        f"{found['fewer_multiply_adds']:.0%}",
        milliseconds(dense),
        milliseconds(selected),
        times(dense / selected),
        f"{found['selector_share']:.1%} of the time",
    ]


def _cost_cells(run: Document) -> list[str]:
    packed, information, resident = (
        run[f"{name}_bytes"] for name in ("packed", "information", "peak_resident")
    )
    bound = run["weight_bytes"] + 1.3 * run["largest_live_set_bytes"]
    return [
        run["network"],
        compression_name(run["compression"]),
        *(seconds(run["seconds"][stage]) for stage in ("export", "cold", "again")),
        f"{_megabytes(packed)} / {_megabytes(information)} = {packed / information:.2f}",
        f"{_megabytes(resident)} / {_megabytes(bound)} = {resident / bound:.2f}",
    ]


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"
