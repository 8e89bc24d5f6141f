"""The charts of a run's result: which figures go into which chart."""

import math
from itertools import groupby
from typing import Any

from spokeshave.report import figures
from spokeshave.report.chart import Bar, Line, bar_chart, line_chart, paired_chart

LAYERS_DRAWN = 16
LEAST_SHARE = 0.01
PHASES = {
    "dense": ("dense training", "peer"),
    "method": ("method", "own"),
    "fine_tune": ("fine-tuning", "warm"),
}


def time_chart(result: dict[str, Any]) -> str:
    """Median time of one sample beside the peers, with quartiles."""
    bars = [
        Bar(
            label=f"{row['name']} ({row['precision']})",
            value=row["median_seconds"],
            text=figures.seconds(row["median_seconds"]),
            style="own" if row["own"] else "peer",
            whiskers=(row["lower_quartile"], row["upper_quartile"]),
        )
        for row in result["table"]
    ]
    return bar_chart(bars, "Time of one sample beside the peers, measured")


def accuracy_chart(result: dict[str, Any]) -> str:
    """Accuracy of the dense network, of the deployment, and of the same plan with random choices."""
    entries = [
        ("dense network", "dense_accuracy", "peer"),
        ("deployment", "deployment_accuracy", "own"),
        ("same plan, weights kept at random, untrained", "random_baseline_accuracy", "random"),
    ]
    bars = [Bar(label, result[key], figures.percent(result[key]), look) for label, key, look in entries]
    return bar_chart(bars, "Accuracy on held-out data, measured")


def device_accuracy_chart(result: dict[str, Any]) -> str:
    """Accuracy of the dense and the fitted network in float32, on the device, and with random choices."""
    entries = [
        ("dense network, float32", "dense_accuracy", "peer"),
        ("fitted network, float32", "fitted_accuracy", "peer"),
        (f"on {result['device']['name']}", "deployment_accuracy", "own"),
        ("same plan at random, untrained", "random_baseline_accuracy", "random"),
    ]
    bars = [Bar(label, result[key], figures.percent(result[key]), look) for label, key, look in entries]
    return bar_chart(bars, "Accuracy on held-out data, measured")


def layer_chart(result: dict[str, Any]) -> str:
    """Time of the layers that cost most, dense and pruned, in network order."""
    timed = [row for row in result["layers"] if row["dense_seconds"] and row["seconds"]]
    least = LEAST_SHARE * sum(row["dense_seconds"] for row in timed)
    costly = sorted(timed, key=lambda row: -row["dense_seconds"])[:LAYERS_DRAWN]
    drawn = [row for row in timed if row in costly and row["dense_seconds"] >= least]
    return paired_chart([_layer_pair(row) for row in drawn], "Time by layer, dense and pruned, measured")


def _layer_pair(row: dict[str, Any]) -> tuple[str, Bar, Bar]:
    density = (
        f" ({figures.percent(row['density'], 0)} of the weights kept)" if row["density"] is not None else ""
    )
    before = Bar("dense", row["dense_seconds"], figures.seconds(row["dense_seconds"]), "before")
    after = Bar("pruned", row["seconds"], figures.seconds(row["seconds"]), "after")
    return f"{row['layer']}{density}", before, after


def training_chart(result: dict[str, Any]) -> str:
    """Held-out accuracy after each epoch, one line a phase."""
    lines = _phase_lines(result["epochs"], "accuracy")
    low = min(y for line in lines for _, y in line.points)
    step = 0.03 if low < 0.97 else 0.003  # a third of the axis is then a round number of points
    bottom = max(0.0, 1 - step * math.ceil((1 - low) / step + 0.3))
    ticks = [(height, figures.percent(height, 0 if step == 0.03 else 1)) for height in _spread(bottom, 1.0)]
    return line_chart(lines, "Held-out accuracy by epoch", "epoch", ticks)


def residual_chart(result: dict[str, Any]) -> str:
    """The method's largest residuals after each epoch; where it is ADMM, the dual ones too."""

    def points(key: str) -> tuple[tuple[float, float], ...]:
        numbered = enumerate(result["epochs"], start=1)
        return tuple((number, epoch[key]) for number, epoch in numbered if epoch.get(key) is not None)

    named = (("largest residual", "residual", "own"), ("largest dual residual", "dual_residual", "warm"))
    lines = [Line(label, points(key), look) for label, key, look in named if points(key)]
    top = max(y for line in lines for _, y in line.points) or 1.0
    ticks = [(height, f"{height:.2f}") for height in _spread(0.0, top)]
    return line_chart(lines, "Residuals of the method by epoch", "epoch", ticks)


def _phase_lines(epochs: list[dict[str, Any]], key: str) -> list[Line]:
    numbered = list(enumerate(epochs, start=1))
    lines = []
    for phase, group in groupby(numbered, key=lambda entry: entry[1]["phase"]):
        name, look = PHASES[phase]
        lines.append(Line(name, tuple((index, epoch[key]) for index, epoch in group), look))
    return lines


def _spread(low: float, high: float) -> list[float]:
    """Four heights from low to high.

    >>> _spread(0.0, 3.0)
    [0.0, 1.0, 2.0, 3.0]
    """
    return [low + (high - low) * part / 3 for part in range(4)]
