"""Charts as SVG text: bars with whiskers, bars in pairs, lines; 400 units wide, so that phones can read them.

Colours come from classes (`chart.css`), so that pages and files alone follow the reader's light or dark mode.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

WIDTH = 400
VALUE_WIDTH = 92
BAR_WIDTH = WIDTH - VALUE_WIDTH
PLOT_HEIGHT, PLOT_LEFT, PLOT_BOTTOM = 160, 44, 44
BAR_PITCH, PAIR_PITCH = 38, 46


@dataclass(frozen=True)
class Bar:
    """One bar: the label above it, its length, the text at its end, its class in `chart.css`.

    `whiskers` are the quartiles, in the unit of `value`.
    """

    label: str
    value: float
    text: str
    style: str = "peer"
    whiskers: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """One line of a plot: its name and its points (x, y), each a dot on it if `dotted`."""

    label: str
    points: tuple[tuple[float, float], ...]
    style: str = "own"
    dotted: bool = True


def bar_chart(bars: Sequence[Bar], title: str) -> str:
    """Horizontal bars, each with its label above and its value at the end."""
    scale = _scale(bars)
    drawn = [_bar(bar, BAR_PITCH * index, scale) for index, bar in enumerate(bars)]
    return svg(drawn, BAR_PITCH * len(bars), title)


def paired_chart(pairs: Sequence[tuple[str, Bar, Bar]], title: str) -> str:
    """For each label two thin bars, before and after."""
    scale = _scale([bar for _, *pair in pairs for bar in pair])
    drawn = []
    for index, (label, before, after) in enumerate(pairs):
        top = PAIR_PITCH * index
        drawn.append(text(0, top + 11, label, "label"))
        drawn += [_thin_bar(before, top + 16, scale), _thin_bar(after, top + 27, scale)]
    return svg(drawn, PAIR_PITCH * len(pairs), title)


def line_chart(lines: Sequence[Line], title: str, x_label: str, y_ticks: Sequence[tuple[float, str]]) -> str:
    """Lines over a common axis; `y_ticks` are the marked heights (value, text), lowest first."""
    low, high = y_ticks[0][0], y_ticks[-1][0]
    xs = [x for line in lines for x, _ in line.points]
    left, right = min(xs), max(max(xs), min(xs) + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = PLOT_LEFT + (x - left) / (right - left) * (WIDTH - PLOT_LEFT - 10)
        return across, 10 + (high - min(max(y, low), high)) / (high - low) * PLOT_HEIGHT

    drawn = [tick(place(left, value)[1], told) for value, told in y_ticks]
    drawn += [polyline([place(x, y) for x, y in line.points], line.style, line.dotted) for line in lines]
    drawn += _line_names(lines)
    drawn += [text(PLOT_LEFT, PLOT_HEIGHT + 26, f"{x_label} {left:g}", "value")]
    drawn += [text(WIDTH - 10, PLOT_HEIGHT + 26, f"{right:g}", "value end")]
    return svg(drawn, PLOT_HEIGHT + PLOT_BOTTOM + 14, title)


def alone(svg: str) -> str:
    """A chart as a file of its own, with its colours inside."""
    head, separator, body = svg.partition(">")
    return f'{head} width="640"{separator}<style>{style()}</style>{body}\n'


def style() -> str:
    """The style sheet of all charts."""
    return resources.files("spokeshave.report").joinpath("chart.css").read_text()


def _scale(bars: Sequence[Bar]) -> float:
    """Units of length per unit of value."""
    longest = max((max(bar.value, *(bar.whiskers or (0.0,))) for bar in bars), default=0.0)
    return BAR_WIDTH / longest if longest > 0 else 0.0


def _bar(bar: Bar, top: float, scale: float) -> str:
    length = max(1.0, bar.value * scale)
    parts = [text(0, top + 11, bar.label, "label"), rectangle(top + 16, length, 13, bar.style)]
    end = length
    if bar.whiskers is not None:
        low, high = (value * scale for value in bar.whiskers)
        middle = top + 22.5
        ends = "".join(f"M{end:.1f} {middle - 4}v8" for end in (low, high))
        parts.append(f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}{ends}"/>')
        end = max(end, high)
    return "".join([*parts, text(end + 6, top + 27, bar.text, "value")])


def _thin_bar(bar: Bar, top: float, scale: float) -> str:
    length = max(1.0, bar.value * scale)
    return rectangle(top, length, 9, bar.style) + text(length + 6, top + 8, bar.text, "small value")


def rectangle(top: float, length: float, height: float, style_name: str) -> str:
    """A bar from the left."""
    return f'<rect class="{style_name}" x="0" y="{top:.1f}" width="{length:.1f}" height="{height}" rx="2"/>'


def tick(height: float, told: str) -> str:
    """A line across a plot with its value before it."""
    line = f'<path class="grid" d="M{PLOT_LEFT} {height:.1f}H{WIDTH - 10}"/>'
    return line + text(PLOT_LEFT - 6, height + 4, told, "value end")


def polyline(points: Iterable[tuple[float, float]], style_name: str, dots: bool = True) -> str:
    """Straight lines from point to point, a dot at each."""
    places = list(points)
    marks = "".join(dot(x, y, style_name) for x, y in places) if dots else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="line {style_name}" points="{path}"/>{marks}'


def dot(x: float, y: float, style_name: str, told: str = "", radius: float = 2.5) -> str:
    """A dot, and what a reader is told who points at it."""
    place = f'class="dot {style_name}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"'
    return f"<circle {place}><title>{escape(told)}</title></circle>" if told else f"<circle {place}/>"


def _line_names(lines: Sequence[Line]) -> list[str]:
    """The names side by side under the plot, each in the colour of its line."""
    drawn, left = [], float(PLOT_LEFT)
    for line in lines:
        middle = PLOT_HEIGHT + PLOT_BOTTOM + 2
        drawn.append(f'<circle class="dot {line.style}" cx="{left + 4:.1f}" cy="{middle}" r="4"/>')
        drawn.append(text(left + 12, PLOT_HEIGHT + PLOT_BOTTOM + 6, line.label, "value"))
        left += 32 + 7.0 * len(line.label)
    return drawn


def text(x: float, y: float, told: str, style_name: str) -> str:
    """A line of text."""
    return f'<text class="{style_name}" x="{x:.1f}" y="{y:.1f}">{escape(told)}</text>'


def svg(parts: Iterable[str], height: float, title: str) -> str:
    """The whole picture."""
    box = f'viewBox="0 0 {WIDTH} {height:.0f}"'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" {box}>'
    return "".join([opening, f"<title>{escape(title)}</title>", *parts, "</svg>"])
