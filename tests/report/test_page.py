"""The page: whole, escaped, on its own, and true to the result."""

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from spokeshave.report.chart import Bar, Line, alone, bar_chart, line_chart
from spokeshave.report.charts import accuracy_chart, layer_chart, residual_chart, time_chart, training_chart
from spokeshave.report.page import page

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "br", "link", "img"}


class _Balanced(HTMLParser):
    """Fails on a tag that is closed out of turn."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def test_page_is_whole_and_needs_nothing_else(result):
    text = page(result)
    parser = _Balanced()
    parser.feed(text)
    assert not parser.open
    assert "<script" not in text
    assert not re.findall(r"""(?:src|href)=|url\(|@import""", text)
    assert "$" not in text


@pytest.mark.parametrize(
    "figure",
    [
        "4.2x",
        "8.5x",
        "98.75 %",
        "99.10 %",
        "11.00 %",
        "3.0e-06",
        "500 µs",
        "2.1 ms",
        "avx2",
        "62 s",
        "stage.conv.weight: 6.1 % of the weights are left.",
        "measured",
    ],
)
def test_page_shows_the_figures(result, figure):
    assert figure in page(result)


def test_names_are_escaped(result):
    text = page(result)
    assert "<small>" not in text
    assert "nets.py:&lt;small&gt;" in text
    assert "Some CPU &amp; Co" in text


def test_page_without_training(result):
    assert "Training" not in page(result | {"epochs": []})


@pytest.mark.parametrize("chart", [time_chart, accuracy_chart, layer_chart, training_chart, residual_chart])
def test_charts_are_svg_within_their_frame(result, chart):
    root = ElementTree.fromstring(chart(result))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for rectangle in root.iter(f"{SVG}rect"):
        assert float(rectangle.attrib["width"]) <= width
        assert float(rectangle.attrib["y"]) + float(rectangle.attrib["height"]) <= height
    assert all(0 <= float(text.attrib["y"]) <= height for text in root.iter(f"{SVG}text"))


def test_bars_are_in_proportion():
    root = ElementTree.fromstring(bar_chart([Bar("a", 1.0, "1"), Bar("b", 4.0, "4")], "title"))
    short, long = (float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect"))
    assert long / short == pytest.approx(4.0, rel=0.01)


def test_lines_rise_with_their_values():
    ticks = [(0.0, "0"), (1.0, "1")]
    root = ElementTree.fromstring(line_chart([Line("a", ((1, 0.0), (2, 1.0)))], "title", "epoch", ticks))
    (line,) = root.iter(f"{SVG}polyline")
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in line.attrib["points"].split())
    assert x0 < x1
    assert y0 > y1


def test_a_chart_alone_brings_its_colours(result):
    root = ElementTree.fromstring(alone(time_chart(result)))
    assert "prefers-color-scheme: dark" in root.find(f"{SVG}style").text
