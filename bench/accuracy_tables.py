"""Accuracy beside time, as Markdown tables: every scheme by kind of layer, and rows that share columns."""

from collections.abc import Sequence
from typing import Any

from bench.markdown import NOTHING, milliseconds, table

Document = dict[str, Any]
Row = dict[str, Any]
NEAR = 0.005  # below the dense network's accuracy: what counts as kept
ROUNDING = 1e-9  # of means


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
    """Accuracy and time by rows that share columns and by rate, for a network and precision, and the best points."""
    parts = []
    for run in document["runs"]:
        parts.append(f"**{run['about']}**: {run['pruning']}.")
        for precision in sorted({row["precision"] for row in run["rows"]}):
            rows = [row for row in run["rows"] if row["precision"] == precision]
            parts += [_row_sharing_table(rows), _sentence(best_point(rows, precision))]
        parts.append(f"**Of both: {_sentence(best_point(run['rows']))}**")
    return "\n\n".join(parts) or NOTHING


def best_point(rows: Sequence[Row], precision: str = "float32") -> Row:
    """The fastest pruned point within `NEAR` of the dense network at `precision`; where none is, the most accurate.

    `loss` (of accuracy) and `speedup` are beside that network, `beside`; `within` says which of both it is.
    """
    dense = next(row for row in rows if row["scheme"] == "dense" and row["precision"] == precision)
    pruned = [row for row in rows if row["scheme"] != "dense"]
    near = [row for row in pruned if dense["accuracy"] - row["accuracy"] <= NEAR + ROUNDING]
    best = (
        min(near, key=lambda row: row["milliseconds"])
        if near
        else max(pruned, key=lambda row: (row["accuracy"], -row["milliseconds"]))
    )
    return {
        **{key: best[key] for key in ("scheme", "precision", "accuracy", "milliseconds")},
        "beside": precision,
        "loss": dense["accuracy"] - best["accuracy"],
        "speedup": dense["milliseconds"] / best["milliseconds"],
        "within": bool(near),
    }


def _row_sharing_table(rows: Sequence[Row]) -> str:
    places = {row["scheme"]: row for row in rows}
    pruned = [name.split(" rows ") for name in places if name != "dense"]
    shared = sorted({int(count) for count, _ in pruned})
    rates = sorted({rate for _, rate in pruned}, key=lambda rate: float(rate[:-1]))
    lines = [[str(count), *(_cell(places.get(f"{count} rows {rate}")) for rate in rates)] for count in shared]
    title = f"In {rows[0]['precision']}; dense: {_cell(places['dense'])}"
    return f"{title}\n\n{table(['rows that share', *rates], lines)}"


def _cell(row: Row | None) -> str:
    return "-" if row is None else f"{row['accuracy']:.1%}, {milliseconds(row['milliseconds'])}"


def _sentence(best: Row) -> str:
    count, _, rate = best["scheme"].partition(" rows ")
    limit = f"within {100 * NEAR:g} points of the dense {best['beside']} network"
    start = f"The fastest point {limit} has" if best["within"] else f"No point is {limit}; the least loss has"
    point = f"{count} row{'' if count == '1' else 's'} a column set at {rate} in {best['precision']}"
    return f"{start} {point}: {100 * best['loss']:.1f} points lost, {best['speedup']:.2f}x its speed."
