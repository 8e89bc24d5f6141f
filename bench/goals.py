"""What we set ourselves beside what was measured."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from bench.markdown import compression_name, table
from bench.standings import PLACE, SPEEDUP, place, why, widest_runs
from spokeshave.report.figures import times

TWO_THREADS = 0.8
"""Goals for two threads are one fifth lower."""

Goal = dict[str, Any]


def goal_table(rows: list[dict[str, Any]], goals: list[Goal]) -> str:
    """A line for each name and compression that has a goal; `rows` are a result file's standings."""
    measured = {
        (row["network"], row["compression"], row["precision"], row["threads"]): row[SPEEDUP] for row in rows
    }
    lines = []
    for goal in goals:
        for name in goal["names"]:
            cells = [
                _cell(
                    measured.get((name, goal["compression"], precision, threads)),
                    goal.get(precision),
                    threads,
                )
                for precision in ("fp32", "best")
                for threads in (1, 2)
            ]
            lines.append([name, compression_name(goal["compression"]), *cells])
    heads = [
        "",
        "",
        *(
            f"{kind}, {count}"
            for kind in ("float32", "best precision")
            for count in ("1 thread", "2 threads")
        ),
    ]
    return table(heads, lines)


def _cell(speedup: float | None, goal: float | None, threads: int) -> str:
    """
    >>> _cell(6.61, 5.0, 1), _cell(3.9, 5.0, 2), _cell(None, 5.0, 1), _cell(2.0, None, 1)
    ('**6.61x** of 5x', '3.9x of 4x', 'not measured, goal 5x', '-')
    """
    if goal is None:
        return "-"
    goal = _on(threads, goal)
    if speedup is None:
        return f"not measured, goal {times(goal)}"
    return f"{f'**{times(speedup)}**' if speedup >= goal else times(speedup)} of {times(goal)}"


def _on(threads: int, goal: float) -> float:
    """A goal, which is set for one thread, on so many."""
    return goal if threads == 1 else TWO_THREADS * goal


def missed_table(
    documents: Sequence[dict[str, Any]], goals: Sequence[Sequence[Goal]], reasons: Sequence[dict[str, Any]]
) -> str:
    """Goals that were measured and missed: beside which peer, how far ahead of every other peer, and why."""
    rows = [
        [
            *place(row),
            f"{times(row[SPEEDUP])} of {times(goal)}",
            row["best_peer"],
            times(_next_speedup(document, row)),
            why_missed(row, goal, reasons),
        ]
        for document, some in zip(documents, goals, strict=True)
        for row, goal in _missed(document, some)
    ]
    heads = [*PLACE, "reached", "beside", "beside the next peer", "why"]
    return table(heads, rows) if rows else "None."


def why_missed(row: dict[str, Any], goal: float, reasons: Sequence[dict[str, Any]]) -> str:
    """That the goal lies among the middle half of the rounds, or else the first reason that fits.

    >>> row = {"speedup_lower_quartile": 3.5, "speedup_upper_quartile": 4.2}
    >>> why_missed(row, 4.0, [])
    'the goal lies within the quartiles of the rounds, 3.5x to 4.2x'
    """
    low, high = row["speedup_lower_quartile"], row["speedup_upper_quartile"]
    if low <= goal <= high:
        return f"the goal lies within the quartiles of the rounds, {times(low)} to {times(high)}"
    return why(row, reasons)


def _missed(document: dict[str, Any], goals: Sequence[Goal]) -> Iterator[tuple[dict[str, Any], float]]:
    for goal, row in product(goals, document.get("rows", [])):
        wanted = _on(row["threads"], goal.get(row["precision"], 0.0))
        named = row["network"] in goal["names"] and row["compression"] == goal["compression"]
        if named and row[SPEEDUP] < wanted:
            yield row, wanted


def _next_speedup(document: dict[str, Any], row: dict[str, Any]) -> float:
    """Over the fastest dense contender of the row's class that is no form of its best peer."""
    best = row["best_peer"].rsplit(" ", 1)[0]
    run = next(run for run in widest_runs(document, row["threads"]) if run["network"] == row["network"])
    others = [
        one["milliseconds"]
        for one in run["contenders"]
        if one["compression"] == 1
        and one["name"] not in (best, "spokeshave")
        and row["precision"] in (one["precision"], "best")
    ]
    return min(others) / row["milliseconds"]
