"""Accuracy beside time, as Markdown tables: every scheme by kind of layer, and rows that share columns."""

from collections.abc import Sequence
from statistics import stdev
from typing import Any

from papers.trials import spread

from bench.markdown import NOTHING, milliseconds, table

Document = dict[str, Any]
Row = dict[str, Any]
NEAR = 0.005  # below the dense network's accuracy: what counts as kept
ROUNDING = 1e-9  # of means
CURVES = "![accuracy by time](../bench/results/token_curves.svg)"


def scheme_tables(document: Document) -> str:
    """One table a run of a kind of layer: every scheme's accuracy, density, bytes and time, and where it was timed."""
    parts = []
    for run in document["runs"]:
        dense = run["rows"][0]
        rows = [
            [
                row["scheme"] + (", in int8" if row["precision"] == "int8" else ""),
                f"{row['test']:.1%}",
                f"{row['density']:.3f}",
                f"{row['packed_bytes'] / 1e3:.0f} kB" if "packed_bytes" in row else "-",
                f"{row['weight_bytes'] / 1e3:.0f} kB",
                milliseconds(row["milliseconds"]),
                f"{dense['milliseconds'] / row['milliseconds']:.2f}x",
            ]
            for row in run["rows"]
        ]
        heads = ["scheme", "accuracy", "density", "packed", "deployed", "time", "over dense"]
        where = f"{run['network']}, {run['rate']}x, timed on {run['machine']['cpu']}, {run['date']}"
        parts.append(f"**{run['kind']}**: {where}\n\n{table(heads, rows)}")
    return "\n\n".join(parts) or NOTHING


def token_curve_table(document: Document) -> str:
    """Accuracy, tokens and time of every reducer at every share, the dense network first; and their chart."""
    rows = [
        [
            row["kind"],
            "all" if row["keep"] == 1 else f"{row['keep']:.0%}",
            f"{row['tokens']:.0f}",
            f"{row['removed']:.0%}",
            spread(row["accuracies"]),
            milliseconds(row["milliseconds"]),
            f"{run['rows'][0]['milliseconds'] / row['milliseconds']:.2f}x",
        ]
        for run in document["runs"]
        for row in run["rows"]
    ]
    heads = ["reducer", "share aimed at", "tokens", "fewer multiply-adds", "accuracy", "time", "over dense"]
    return f"{table(heads, rows)}\n\n{CURVES}" if rows else NOTHING


def row_sharing_tables(document: Document) -> str:
    """Accuracy and time by rows that share columns and by rate, for a network and precision, and the best points.

    Trained ones first; runs whose answers were not kept sample by sample have no best point.
    """
    parts = []
    for run in sorted(document["runs"], key=lambda run: "losses" not in run["rows"][0]):
        judged = "losses" in run["rows"][0]
        parts.append(f"**{run['about']}**: {run['pruning']}.")
        for precision in sorted({row["precision"] for row in run["rows"]}):
            rows = [row for row in run["rows"] if row["precision"] == precision]
            parts += [_row_sharing_table(rows), *([_sentence(best_point(rows, precision))] if judged else [])]
        if judged:
            parts.append(f"**Of both: {_sentence(best_point(run['rows']))}** {_dense_speeds(run['rows'])}")
            parts.append(f"The dense network in the same run elsewhere: {_peers(run['dense_peers'])}.")
    return "\n\n".join(parts) or NOTHING


def _peers(times: dict[str, Row]) -> str:
    found = [f"{name} {milliseconds(time['milliseconds'])}" for name, time in times.items()]
    return ", ".join(found) or "no peer is installed"


def reference(rows: Sequence[Row], precision: str) -> Row:
    """The dense network at a precision: as it came or trained as the pruned ones were, whichever is more accurate."""
    dense = [row for row in rows if row["scheme"].startswith("dense") and row["precision"] == precision]
    return max(dense, key=lambda row: row["accuracy"])


def best_point(rows: Sequence[Row], precision: str = "float32") -> Row:
    """The fastest pruned point within `NEAR` of the dense network at `precision` on the samples that choose.

    Where none is, that of least loss there. `loss` (of accuracy, with its standard `error`) is on the other samples,
    and `speedup` beside the dense network; `within` says which of both the point is.
    """
    dense = reference(rows, precision)
    pruned = [row for row in rows if row["scheme"][0].isdigit()]
    near = [row for row in pruned if row["losses"][precision]["choosing"] <= NEAR + ROUNDING]
    best = (
        min(near, key=lambda row: row["milliseconds"])
        if near
        else min(pruned, key=lambda row: (row["losses"][precision]["choosing"], row["milliseconds"]))
    )
    return {
        **{key: best[key] for key in ("scheme", "precision", "accuracy", "milliseconds")},
        "beside": precision,
        "loss": best["losses"][precision]["judging"],
        "error": best["losses"][precision]["error"],
        "speedup": dense["milliseconds"] / best["milliseconds"],
        "within": bool(near),
    }


def _row_sharing_table(rows: Sequence[Row]) -> str:
    places = {row["scheme"]: row for row in rows}
    points = [name.split(" rows ") for name in places if " rows " in name]
    shared = sorted(
        {count for count, _ in points}, key=lambda count: (not count.isdigit(), len(count), count)
    )
    rates = sorted({rate for _, rate in points}, key=lambda rate: float(rate[:-1]))
    lines = [[count, *(_cell(places.get(f"{count} rows {rate}")) for rate in rates)] for count in shared]
    dense = "; ".join(f"{name}: {_cell(row)}" for name, row in places.items() if name.startswith("dense"))
    return f"In {rows[0]['precision']}; {dense}\n\n{table(['rows that share', *rates], lines)}"


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    spread = f" ± {100 * stdev(row['accuracies']):.1f}" if len(row["accuracies"]) > 1 else ""
    return f"{100 * row['accuracy']:.1f}{spread} %, {milliseconds(row['milliseconds'])}"


def _sentence(best: Row) -> str:
    count, _, rate = best["scheme"].partition(" rows ")
    limit = f"within {100 * NEAR:g} points of the dense {best['beside']} network"
    start = (
        f"The fastest point that half of the samples see {limit}"
        if best["within"]
        else f"Half of the samples see no point {limit}; the least loss there"
    )
    point = f"{count} row{'' if count == '1' else 's'} a column set at {rate} in {best['precision']}"
    judged = f"on the other half it loses {100 * best['loss']:.1f} ± {100 * best['error']:.1f} points"
    return f"{start}: {point}, {best['speedup']:.2f}x its speed; {judged}."


def _dense_speeds(rows: Sequence[Row]) -> str:
    times = {precision: reference(rows, precision)["milliseconds"] for precision in ("float32", "int8")}
    return f"The dense int8 network has {times['float32'] / times['int8']:.2f}x the speed of the dense float32 one."
