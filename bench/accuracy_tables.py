"""Accuracy beside time, as Markdown tables: every scheme by kind of layer, and rows that share columns."""

from collections.abc import Sequence
from typing import Any

from bench.markdown import NOTHING, milliseconds, table

Document = dict[str, Any]
Row = dict[str, Any]
NEAR = 0.005  # below the dense network's accuracy: what counts as kept


def scheme_tables(document: Document) -> str:
    """One table a kind of layer: every scheme's accuracy, density, bytes and time."""
    parts = []
    for run in document["runs"]:
        dense = run["rows"][0]
        rows = [
            [
                row["scheme"] + (", in int8" if row["precision"] == "int8" else ""),
                f"{row['test']:.1%}",
                f"{row['density']:.3f}",
                f"{row['weight_bytes'] / 1e3:.0f} kB",
                milliseconds(row["milliseconds"]),
                f"{dense['milliseconds'] / row['milliseconds']:.2f}x",
            ]
            for row in run["rows"]
        ]
        heads = ["scheme", "accuracy", "density", "weights", "time", "over dense"]
        parts.append(f"**{run['kind']}**: {run['network']}, {run['rate']}x\n\n{table(heads, rows)}")
    return "\n\n".join(parts) or NOTHING


def row_sharing_tables(document: Document) -> str:
    """One table a network and precision: accuracy and time by rows that share columns and by rate."""
    parts = [
        _row_sharing_table(run, precision)
        for run in document["runs"]
        for precision in sorted({row["precision"] for row in run["rows"]})
    ]
    return "\n\n".join(parts) or NOTHING


def _row_sharing_table(run: Document, precision: str) -> str:
    rows = [row for row in run["rows"] if row["precision"] == precision]
    dense = next(row for row in run["rows"] if row["scheme"] == "dense" and row["precision"] == "float32")
    places = {row["scheme"]: row for row in rows}
    pruned = [name.split(" rows ") for name in places if name != "dense"]
    shared = sorted({int(count) for count, _ in pruned})
    rates = sorted({rate for _, rate in pruned}, key=lambda rate: float(rate[:-1]))
    lines = [[str(count), *(_cell(places.get(f"{count} rows {rate}")) for rate in rates)] for count in shared]
    title = f"**{run['about']}**, {precision}: dense {_cell(places['dense'])}"
    return f"{title}\n\n{table(['rows that share', *rates], lines)}\n\n{_best(rows, dense)}"


def _cell(row: Row | None) -> str:
    return "-" if row is None else f"{row['accuracy']:.1%}, {milliseconds(row['milliseconds'])}"


def _best(rows: Sequence[Row], dense: Row) -> str:
    """The fastest that keeps the accuracy of the dense float32 network."""
    kept = [row for row in rows if row["accuracy"] >= dense["accuracy"] - NEAR]
    if not kept:
        return f"None is within {NEAR:.1%} of the dense float32 network."
    best = min(kept, key=lambda row: row["milliseconds"])
    gain = dense["milliseconds"] / best["milliseconds"]
    return f"The fastest within {NEAR:.1%} of the dense float32 network: {best['scheme']}, {gain:.2f}x its speed."
