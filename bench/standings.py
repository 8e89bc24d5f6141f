"""Result documents read as standings: ours beside the best dense peer, all peers, who is absent, where we lose."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from bench.markdown import NOTHING, compression_name, milliseconds, table, thread_count
from spokeshave.report.figures import times

Document = dict[str, Any]
SPEEDUP = "speedup_over_best_dense_same_class"
REASON_LENGTH = 160


def speedup_table(document: Document, threads: int, precision: str) -> str:
    """Our time and speed-up at every compression, beside the best dense peer."""
    chosen = [row for row in document["rows"] if (row["threads"], row["precision"]) == (threads, precision)]
    compressions = sorted({row["compression"] for row in chosen})
    rows = []
    for network in dict.fromkeys(row["network"] for row in chosen):
        own = {row["compression"]: row for row in chosen if row["network"] == network}
        some = next(iter(own.values()))
        peer = f"{some['best_peer']}, {milliseconds(some['best_peer_milliseconds'])}"
        rows.append([network, peer, *(_speedup_cell(own.get(compression)) for compression in compressions)])
    words = "float32 only" if precision == "fp32" else "the best precision of each side"
    what = "our time, and how many times faster than the best dense peer"
    title = f"**{thread_count(threads).capitalize()}, {words}** ({what})"
    return f"{title}\n\n{table(['', 'best dense peer', *map(compression_name, compressions)], rows)}"


def _speedup_cell(row: Document | None) -> str:
    return "-" if row is None else f"{milliseconds(row['milliseconds'])}, **{times(row[SPEEDUP])}**"


def widest_runs(document: Document, threads: int) -> list[Document]:
    """For each network its run with the most contenders."""
    runs: dict[str, Document] = {}
    for run in document["runs"]:
        best = runs.get(run["network"])
        if run["threads"] == threads and (best is None or len(run["contenders"]) > len(best["contenders"])):
            runs[run["network"]] = run
    return list(runs.values())


def peer_table(document: Document, threads: int) -> str:
    """Every dense contender's time on every network, and those of sparse peers."""
    runs = widest_runs(document, threads)
    if not runs:
        return NOTHING
    shown = [
        {
            one["label"]: one["milliseconds"]
            for one in run["contenders"]
            if one["compression"] == 1 or not _is_ours(one)
        }
        for run in runs
    ]
    labels = sorted({label for times_by in shown for label in times_by})
    rows = [[label, *(milliseconds(times_by.get(label)) for times_by in shown)] for label in labels]
    return table([f"ms, {thread_count(threads)}", *(run["network"] for run in runs)], rows)


def _is_ours(contender: Document) -> bool:
    return contender["name"] == "spokeshave"


def absent_table(documents: Sequence[Document]) -> str:
    """Which peers could not take part, where, and why: a row for each peer and reason."""
    places: dict[tuple[str, str], list[str]] = {}
    for document in documents:
        for threads in sorted({run["threads"] for run in document["runs"]}):
            for run in widest_runs(document, threads):
                for one in run["absent"]:
                    names = places.setdefault(
                        (f"{one['name']} {one['precision']}", _shortened(one["reason"])), []
                    )
                    names += [run["network"]] if run["network"] not in names else []
    if not places:
        return "Every peer ran everything."
    rows = [[peer, ", ".join(names), reason] for (peer, reason), names in sorted(places.items())]
    return table(["peer", "not on", "reason"], rows)


def _shortened(reason: str) -> str:
    text = reason.replace("|", "/").replace("\n", " ")
    return text if len(text) <= REASON_LENGTH else f"{text[:REASON_LENGTH].rsplit(' ', 1)[0]} ..."


def losses(documents: Sequence[Document]) -> Iterator[Document]:
    """Standings in which the best dense peer is faster."""
    return (row for document in documents for row in document.get("rows", []) if row[SPEEDUP] < 1)


def reason_for(row: Document, reasons: Sequence[Document]) -> str | None:
    """The first reason whose patterns name the row; a pattern that is left out names everything."""
    for reason in reasons:
        named = any(fnmatchcase(row["network"], pattern) for pattern in reason["names"])
        others = all(
            row[key] in reason.get(key, [row[key]]) for key in ("precision", "compression", "threads")
        )
        if named and others:
            return str(reason["why"])
    return None


PLACE = ("", "threads", "precision", "compression")


def place(row: Document) -> list[str]:
    """Which standing a row is: the cells under `PLACE`."""
    return [
        row["network"],
        thread_count(row["threads"]),
        row["precision"],
        compression_name(row["compression"]),
    ]


def why(row: Document, reasons: Sequence[Document]) -> str:
    """The reason as it is shown."""
    return reason_for(row, reasons) or "not understood yet"


def loss_table(documents: Sequence[Document], reasons: Sequence[Document]) -> str:
    """Where a dense peer is faster than ours, and why."""
    rows = [
        [*place(row), f"{times(row[SPEEDUP])} of {row['best_peer']}", why(row, reasons)]
        for row in losses(documents)
    ]
    return table([*PLACE, "our speed", "why"], rows) if rows else "Nowhere."
