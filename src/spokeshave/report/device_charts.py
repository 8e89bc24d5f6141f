"""Pictures of devices as SVG: gauges, parts of a whole, rooflines, accuracy by noise (see `spokeshave.pictures`)."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spokeshave.errors import SpokeshaveError
from spokeshave.report import figures
from spokeshave.report.chart import (
    BAR_PITCH,
    BAR_WIDTH,
    PLOT_BOTTOM,
    PLOT_HEIGHT,
    PLOT_LEFT,
    WIDTH,
    Bar,
    bar_chart,
    dot,
    polyline,
    rectangle,
    svg,
    text,
    tick,
)
from spokeshave.report.token_charts import histogram_chart, patches_chart

Plain = Mapping[str, Any]
PARTS_DRAWN = 10
NAMED = 3  # layers of a roofline that have their names beside them
FULL = 1.0


def drawn(picture: Plain) -> str:
    """A picture as its plain data says."""
    return DRAWERS[picture["kind"]](picture)


def gauge_chart(picture: Plain) -> str:
    """A track for what is there, and a bar in it for what is used."""
    parts = []
    for index, gauge in enumerate(picture["gauges"]):
        top = BAR_PITCH * index
        share = gauge["used"] / gauge["available"]
        style = "own" if share <= FULL else "random"
        told = f"{_number(gauge['used'])} of {_number(gauge['available'])} {gauge['unit']}".strip()
        parts += [text(0, top + 11, gauge["label"], "label"), text(WIDTH, top + 11, told, "value end")]
        parts += [rectangle(top + 16, BAR_WIDTH, 13, "track")]
        parts += [rectangle(top + 16, max(1.0, min(share, FULL) * BAR_WIDTH), 13, style)]
        parts += [text(WIDTH, top + 27, figures.percent(share, 1), "value end")]
    return svg(parts, BAR_PITCH * len(picture["gauges"]), picture["title"])


def shares_chart(picture: Plain) -> str:
    """A bar for every part, those of no account as one."""
    parts = [(name, value) for name, value in picture["parts"] if value > 0]
    if len(parts) > PARTS_DRAWN:
        chosen = sorted(parts, key=lambda part: -part[1])[: PARTS_DRAWN - 1]
        rest = [part for part in parts if part not in chosen]
        parts = [part for part in parts if part in chosen]
        parts.append((f"{len(rest)} others", sum(value for _, value in rest)))
    whole = sum(value for _, value in parts)
    tell = figures.joules if picture["unit"] == "J" else figures.seconds
    bars = [
        Bar(name, value, f"{tell(value)}, {figures.percent(value / whole, 0)}", "own")
        for name, value in parts
    ]
    return bar_chart(bars, picture["title"])


def roofline_chart(picture: Plain) -> str:
    """Operations a second over operations a byte, both axes logarithmic; a dot a layer, the slowest named."""
    points, peak, bandwidth = picture["points"], picture["peak"], picture["bandwidth"]
    ridge = peak / bandwidth
    left, right = _decades([*(x for _, x, _ in points), ridge])
    low, high = _decades([*(y for _, _, y in points), peak])
    across, down = _scale(left, right), _fall(low, high)
    starts = max(left, low / bandwidth)
    roof = [(starts, starts * bandwidth), (ridge, peak), (right, peak)]
    parts = [tick(down(10.0**power), _rate(10.0**power)) for power in _powers(low, high)]
    parts += [_below(across(10.0**power), figures.plain(10.0**power)) for power in _powers(left, right)]
    parts.append(polyline([(across(x), down(y)) for x, y in roof], "peer", dots=False))
    named = sorted(points, key=lambda point: point[2])[:NAMED]
    parts += [
        dot(across(x), down(y), "own", f"{name}: {_rate(y)}{picture['unit']}/s") for name, x, y in points
    ]
    parts += _labels([(across(x), down(y), name) for name, x, y in named])
    told = f"{picture['unit']} a byte; upwards {picture['unit']} a second"
    parts.append(text(PLOT_LEFT, PLOT_HEIGHT + PLOT_BOTTOM + 6, told, "value"))
    return svg(parts, PLOT_HEIGHT + PLOT_BOTTOM + 14, picture["title"])


def curve_chart(picture: Plain) -> str:
    """Accuracy at every value, evenly spaced; the device's own value stands out."""
    points, own = picture["points"], picture["own"]
    low = max(0.0, math.floor(10 * min(y for _, y in points) - 0.5) / 10)
    high = 1.0
    room = (WIDTH - PLOT_LEFT - 30) / max(1, len(points) - 1)

    def place(index: int, y: float) -> tuple[float, float]:
        return PLOT_LEFT + 10 + index * room, 10 + (high - y) / (high - low) * PLOT_HEIGHT

    heights = [low + (high - low) * part / 4 for part in range(5)]
    parts = [tick(place(0, y)[1], figures.percent(y, 0)) for y in heights]
    parts.append(polyline([place(index, y) for index, (_, y) in enumerate(points)], "own"))
    for index, (x, y) in enumerate(points):
        parts.append(_below(place(index, low)[0], figures.plain(x)))
        if math.isclose(x, own):
            parts.append(dot(*place(index, y), "warm", f"{figures.plain(x)}: {figures.percent(y)}", 5.0))
    legend = PLOT_HEIGHT + PLOT_BOTTOM + 6
    parts.append(dot(PLOT_LEFT + 4, legend - 4, "warm", radius=4.0))
    parts += [
        text(PLOT_LEFT + 14, legend, "this device", "value"),
        text(WIDTH - 10, legend, picture["x_label"], "value end"),
    ]
    return svg(parts, PLOT_HEIGHT + PLOT_BOTTOM + 14, picture["title"])


def cost_chart(network: str, costs: Sequence[dict[str, Any]]) -> str:
    """Energy over time of one sample, both axes logarithmic: a dot for each device that tells both."""
    points = [
        (cost["name"], cost["latency_seconds"], cost["energy_joules"], cost["kind"])
        for cost in costs
        if not cost["reason"] and cost["latency_seconds"] and cost["energy_joules"]
    ]
    if not points:
        raise SpokeshaveError("no device tells both time and energy of a sample, so there is nothing to draw")
    left, right = _decades([x for _, x, _, _ in points])
    low, high = _decades([y for _, _, y, _ in points])
    across, down = _scale(left, right), _fall(low, high)
    parts = [tick(down(10.0**power), figures.joules(10.0**power)) for power in _powers(low, high)]
    parts += [_below(across(10.0**power), figures.seconds(10.0**power)) for power in _powers(left, right)]
    parts += [
        dot(across(x), down(y), "own", f"{name}: {figures.seconds(x)}, {figures.joules(y)} ({kind})")
        for name, x, y, kind in points
    ]
    parts += _labels([(across(x), down(y), name) for name, x, y, _ in points])
    kinds = " and ".join(sorted({kind for *_, kind in points}))
    told = f"time of a sample; upwards its energy ({kinds})"
    parts.append(text(PLOT_LEFT, PLOT_HEIGHT + PLOT_BOTTOM + 6, told, "value"))
    return svg(parts, PLOT_HEIGHT + PLOT_BOTTOM + 14, f"{network}: one sample on {len(points)} devices")


DRAWERS: dict[str, Callable[[Plain], str]] = {
    "gauges": gauge_chart,
    "shares": shares_chart,
    "roofline": roofline_chart,
    "curve": curve_chart,
    "patches": patches_chart,
    "histogram": histogram_chart,
}


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _rate(value: float) -> str:
    return figures.count(value).replace(" ", "")


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Powers of ten around the values.

    >>> _decades([0.2, 30.0])
    (0.1, 100.0)
    """
    return 10.0 ** math.floor(math.log10(min(values))), 10.0 ** math.ceil(math.log10(max(values)))


def _powers(low: float, high: float) -> range:
    """Which decades get a line: at most five of them."""
    first, last = round(math.log10(low)), round(math.log10(high))
    return range(first, last + 1, max(1, math.ceil((last - first) / 5)))


def _scale(left: float, right: float) -> Callable[[float], float]:
    width = math.log10(right / left) or 1.0
    return lambda x: PLOT_LEFT + math.log10(max(x, left) / left) / width * (WIDTH - PLOT_LEFT - 20)


def _fall(low: float, high: float) -> Callable[[float], float]:
    height = math.log10(high / low) or 1.0
    return lambda y: 10 + math.log10(high / max(y, low)) / height * PLOT_HEIGHT


def _below(x: float, told: str) -> str:
    return text(x, PLOT_HEIGHT + 26, told, "value middle")


def _labels(places: Sequence[tuple[float, float, str]]) -> list[str]:
    """Names beside dots, each at least a line below the one above it, and to the left where there is no room."""
    drawn_labels, lowest = [], 0.0
    for x, y, name in sorted(places, key=lambda place: place[1]):
        line = max(y + 4, lowest + 12)
        lowest = line
        left = x + 8 + 6.2 * len(name) > WIDTH
        drawn_labels.append(
            text(x - 8 if left else x + 8, line, name, "small value end" if left else "small value")
        )
    return drawn_labels
