"""Pictures of devices: within their frame, in proportion, and readable from plain data alone."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokeshave.errors import SpokeshaveError
from spokeshave.pictures import Curve, Gauge, Gauges, Roofline, Shares, as_plain
from spokeshave.report.chart import BAR_WIDTH
from spokeshave.report.device_charts import cost_chart, drawn
from spokeshave.report.page import page
from spokeshave.report.table import run_tables

SVG = "{http://www.w3.org/2000/svg}"
GAUGES = Gauges("In use", "of a chip", (Gauge("DSP", 630, 2520), Gauge("LUT <x>", 300_000, 274_080, "LUT")))
SHARES = Shares("Energy", "modelled", "J", tuple((f"part {n}", n * 1e-9) for n in range(14)))
ROOF = Roofline("Roof", "modelled", "flop", 2e11, 3e10, (("a", 0.5, 1e9), ("b", 40.0, 1e11), ("c", 3, 3e10)))
CURVE = Curve("Noise", "simulated", "variation", 0.1, ((0.0, 0.99), (0.1, 0.98), (0.3, 0.61)))


def tree(picture):
    return ElementTree.fromstring(drawn(json.loads(json.dumps(as_plain(picture)))))


def check_frame(root):
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for circle in root.iter(f"{SVG}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height
    for rectangle in root.iter(f"{SVG}rect"):
        assert float(rectangle.attrib["width"]) <= width
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height


@pytest.mark.parametrize("picture", [GAUGES, SHARES, ROOF, CURVE], ids=lambda one: type(one).__name__)
def test_pictures_are_svg_within_their_frame(picture):
    check_frame(tree(picture))


def cost(name, seconds, joules, reason=""):
    return {
        "name": name,
        "kind": "modelled",
        "reason": reason,
        "latency_seconds": seconds,
        "energy_joules": joules,
    }


def test_costs_of_devices_are_dots_within_their_frame():
    """One that cannot run the network, or tells no energy, has none."""
    costs = [cost("slow", 1e-2, 1e-3), cost("<fast>", 3e-6, 2e-9), cost("no energy", 1.0, None)]
    costs.append({"name": "aqfp", "kind": "modelled", "reason": "runs binary layers alone"})
    root = ElementTree.fromstring(cost_chart("net", costs))
    check_frame(root)
    told = [circle.find(f"{SVG}title").text for circle in root.iter(f"{SVG}circle")]
    assert [one.split(":")[0] for one in told] == ["slow", "<fast>"]
    with pytest.raises(SpokeshaveError, match="nothing to draw"):
        cost_chart("net", costs[2:])


def test_gauges_are_in_proportion_and_too_much_stands_out():
    bars = [bar for bar in tree(GAUGES).iter(f"{SVG}rect") if bar.attrib["class"] != "track"]
    assert float(bars[0].attrib["width"]) == pytest.approx(BAR_WIDTH / 4, rel=0.01)
    assert [bar.attrib["class"] for bar in bars] == ["own", "random"]
    assert float(bars[1].attrib["width"]) <= BAR_WIDTH


def test_small_parts_are_added_up():
    texts = [text.text for text in tree(SHARES).iter(f"{SVG}text")]
    assert "4 others" in texts
    assert any(text.startswith("13 nJ") for text in texts)


def test_no_dot_is_above_the_roof_where_rates_obey_it():
    root = tree(ROOF)
    roof = next(root.iter(f"{SVG}polyline")).attrib["points"].split()
    top = min(float(point.split(",")[1]) for point in roof)
    assert all(float(dot.attrib["cy"]) >= top for dot in root.iter(f"{SVG}circle"))
    assert {title.text for title in root.iter(f"{SVG}title")} >= {"a: 1Gflop/s"}


def test_the_devices_own_point_is_marked():
    marked = [dot for dot in tree(CURVE).iter(f"{SVG}circle") if "warm" in dot.attrib["class"]]
    assert len(marked) == 2  # the point, and its legend


@given(
    st.lists(
        st.tuples(st.floats(1e-3, 1e5), st.floats(1e3, 1e14)).map(lambda pair: ("layer", *pair)), min_size=1
    ),
    st.floats(1e6, 1e14),
    st.floats(1e6, 1e13),
)
def test_any_roofline_stays_in_its_frame(points, peak, bandwidth):
    check_frame(tree(Roofline("Roof", "", "flop", peak, bandwidth, tuple(points))))


@pytest.fixture
def modelled(result):
    cost = {
        "kind": "modelled", "source": "crossbars of mine (mine.toml)", "latency_seconds": 2e-5,
        "energy_joules": 3e-6, "weight_bytes": 38_000, "samples_per_second": 1e4, "area_mm2": None,
        "by_layer": [["stem", 1e-5]], "left_out": [["attention", "no weights to program"]],
    }  # fmt: skip
    rows = [
        {
            "layer": "stem", "weight_shape": [8, 4, 3, 3], "scheme": "polarized & fixed_point", "density": 0.9,
            "dense_modelled": None, "modelled": 1e-5,
        }
    ]  # fmt: skip
    gone = ("table", "absent", "speedup_over_best_dense_fp32", "best_dense_peer", "max_relative_error")
    return {key: value for key, value in result.items() if key not in gone} | {
        "device": {"name": "mine", "kind": "modelled", "about": "a chip of <mine>"},
        "fitted_accuracy": 0.989,
        "deployed_by": "simulated crossbars",
        "short_of_budget": ["head.weight: 6.1 % of the weights are left."],
        "float32": [["norm (LayerNorm)", "it has no form in whole numbers"]],
        "cost": cost,
        "dense_cost": None,
        "no_dense_cost": "its weights need signs",
        "pictures": [as_plain(one) for one in (GAUGES, SHARES, ROOF, CURVE)],
        "layers": rows,
    }


def test_a_modelled_page_says_what_is_modelled(modelled):
    text = page(modelled)
    for figure in ("20 µs", "3 µJ", "98.75 %", "98.90 %", "modelled", "its weights need signs", "Roof"):
        assert figure in text
    assert "Float32 there: norm (LayerNorm). Not counted: attention (no weights to program)." in text
    assert "<mine>" not in text
    assert "Every figure here was measured" not in text


def test_a_modelled_run_has_tables_for_the_terminal(modelled):
    layers, figures = run_tables(modelled)
    assert layers.row_count == 1
    told = [cell for column in figures.columns for cell in column.cells]
    assert "latency of a sample, modelled" in told
    assert "98.75 %" in told
    assert "head.weight: 6.1 % of the weights are left." in str(figures.caption)
