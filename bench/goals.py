"""What we set ourselves beside what was measured."""

from typing import Any

from bench.markdown import compression_name, table
from bench.standings import SPEEDUP
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
    goal *= 1 if threads == 1 else TWO_THREADS
    if speedup is None:
        return f"not measured, goal {times(goal)}"
    return f"{f'**{times(speedup)}**' if speedup >= goal else times(speedup)} of {times(goal)}"
