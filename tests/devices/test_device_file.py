import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from spokeshave.devices import load_device
from spokeshave.errors import SpokeshaveError

MODELLED = Path(str(resources.files("spokeshave.devices"))) / "modelled"
FIGURE = 'value = {value}\nunit = "{unit}"\nstatus = "inferred"\nsource = "a guess"\n'
UNITS = {
    "peak": "flop/s",
    "bandwidth": "byte/s",
    "cache": "byte",
    "launch": "s",
    "value_size": "byte",
    "efficiency.dense": "1",
}


def device_text(values=None):
    numbers = {
        "peak": 1e9,
        "bandwidth": 1e9,
        "cache": 1e6,
        "launch": 1e-6,
        "value_size": 4,
        "efficiency.dense": 0.5,
    } | (values or {})
    tables = [f"[{key}]\n{FIGURE.format(value=numbers[key], unit=unit)}" for key, unit in UNITS.items()]
    return 'name = "mine"\nabout = "a device of my own"\nfamily = "roofline"\n' + "".join(tables)


def test_a_device_of_the_users_own_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(device_text())
    device = load_device(str(path))
    assert (device.name, device.kind, device.about) == ("mine", "modelled", "a device of my own")
    assert device.power is None
    assert device.launch.value == 1e-6
    assert "mine.toml" in device.describe()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('name = "mine"\n', "", "line 1: the device lacks 'name'"),
        ('name = "mine"', "name = 3", "line 1: name must be a text"),
        ("[launch]", "[lunch]", "line 19: lunch is not known here; known keys are name, about, family, peak"),
        (
            "[peak]\nvalue = 1000000000.0",
            '[peak]\nvalue = "fast"',
            "line 5: peak.value must be a positive number, not 'fast'",
        ),
        (
            "[peak]\nvalue = 1000000000.0",
            "[peak]\nvalue = -1",
            "line 5: peak.value must be a positive number, not -1",
        ),
        (
            "[peak]\nvalue = 1000000000.0",
            "[peak]\nvalue = nan",
            "line 5: peak.value must be a positive number, not nan",
        ),
        ("[peak]\nvalue = 1000000000.0\n", "[peak]\n", "line 4: peak lacks 'value'"),
        ('unit = "flop/s"', 'unit = "GHz"', "line 6: peak.unit must be 'flop/s', not 'GHz'"),
        (
            'flop/s"\nstatus = "inferred"',
            'flop/s"\nstatus = "sure"',
            "line 7: peak.status must be one of seen, recalled",
        ),
        ('source = "a guess"\n[bandwidth]', 'source = ""\n[bandwidth]', "line 8: peak.source must say where"),
        (
            "[efficiency.dense]\nvalue = 0.5",
            "[efficiency.dense]\nvalue = 50",
            "efficiency.dense.value must be at most 1",
        ),
        (
            "[efficiency.dense]",
            "[efficiency.denze]",
            "line 29: efficiency.denze is not known here; known keys are dense",
        ),
        ("[efficiency.dense]", "[efficiency.unstructured]", "line 29: efficiency lacks 'dense'"),
        ("[peak]\n", "peak = 3\n[power]\n", "line 4: peak must be a table"),
        (
            'family = "roofline"',
            'family = "steam"',
            "line 3: family must be one of roofline, reram.*not 'steam'",
        ),
        ('family = "roofline"\n', "", "line 1: the device lacks 'family'"),
        ("[peak]", "[peak", "is not TOML: .*line 4"),
        (
            "[peak]\nvalue = 1000000000.0",
            "[peak] # of a core\nvalue = -1",
            "line 5: peak.value must be a positive number, not -1",
        ),
        (
            'source = "a guess"\n[bandwidth]\nvalue = ',
            'source = """\n[bandwidth]\nvalue = 3"""\n[bandwidth]\nvalue = -',
            "line 12: bandwidth.value must be a positive number, not -",
        ),
        ('name = "', 'name = "two\\nlines ', "line 1: name must be a text of one line"),
        (
            "[value_size]\nvalue = 4",
            "[value_size]\nvalue = 0.5",
            "value_size.value must be a whole number from 1 to 16, not 0.5",
        ),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(tmp_path, old, new, sentence):
    path = tmp_path / "mine.toml"
    assert old in device_text()
    path.write_text(device_text().replace(old, new, 1))
    with pytest.raises(SpokeshaveError, match=sentence) as caught:
        load_device(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        (
            "galaxy-s10-cpu",
            'value = "neon"',
            'value = "mips"',
            r"code\.value must be one of .*neon.*not 'mips'",
        ),
        ("galaxy-s10-cpu", "[code]", "[kode]", "kode is not known here"),
        ("galaxy-s10-cpu", 'unit = "W"', 'unit = "mW"', r"power\.unit must be 'W', not 'mW'"),
        (
            "integers-shift",
            '[rounding]\nvalue = "',
            '[rounding]\nvalue = "x',
            r"rounding\.value must be one of",
        ),
        ("integers-shift", "[clock]", "[klock]", "klock is not known here"),
        (
            "forms",
            "[rows_at_once]\nvalue = 8",
            "[rows_at_once]\nvalue = 7",
            "rows_at_once must divide the 128",
        ),
        (
            "forms",
            "[rows_at_once]\nvalue = 8",
            "[rows_at_once]\nvalue = 7.5",
            "must be a whole number from 1 to 4096, not 7.5",
        ),
        (
            "isaac",
            '[encoding]\nvalue = "offset"',
            '[encoding]\nvalue = "bias"',
            "must be one of pairs, offset",
        ),
        ("aqfp", "[phases]\nvalue = 4", "[phases]\nvalue = 6", r"phases\.value must be a multiple of 4"),
        ("aqfp", "[height]\n", "[height]\nheight = 3\n", "height.height is not known here"),
        ("aqfp", "[height]\nvalue = 36", "[height]\nvalue = 1e300", "whole number from 1 to 4096, not 1e"),
        (
            "aqfp",
            "[clock]\nvalue = ",
            "[clock]\nvalue = 1e300 #",
            "must be between 1e-30 and 1e.30 1/s, not 1e",
        ),
        (
            "zcu102",
            "[columns]\nvalue = ",
            "[columns]\nvalue = 1e300 #",
            "columns.value must be a whole number",
        ),
        ("zcu102", "[columns]\nvalue = ", "[columns]\nvalue = true #", "from 1 to 1048576, not true"),
        ("zcu102", "[columns]\nvalue = ", "[columns]\nvalue = 1048576 #", "with columns=.* it would fit"),
        (
            "zcu102",
            "[int8]\nvalue = ",
            "[int8]\nvalue = 3 #",
            "int8.value contradicts itself: int8 lanes come in pa",
        ),
        ("zcu102", "[clock]\nvalue = ", f"[clock]\nvalue = {10**400} #", "clock.value must be between"),
        (
            "zcu102",
            "[clock]\nvalue = ",
            "[clock]\nvalue = -nan #",
            "clock.value must be a positive number, not nan",
        ),
        ("zcu102", 'unit = "byte"', 'unit = "GB"', "memory.unit must be 'byte', not 'GB'"),
        (
            "isaac",
            "[crossbars]\nvalue = ",
            "[crossbars]\nvalue = 2.5 #",
            "whole number from 1 to 1000000000, not 2.5",
        ),
        (
            "isaac",
            "[low_resistance]\nvalue = ",
            "[low_resistance]\nvalue = 1e9 #",
            "low_resistance.value contradicts itself: .* below high_resistance",
        ),
        (
            "integers-shift",
            "[launch]\nvalue = ",
            "[launch]\nvalue = -1 #",
            "must be a number of at least 0, not -1",
        ),
        (
            "integers-shift",
            "[weight_bits]\nvalue = 8",
            "[weight_bits]\nvalue = 17",
            "weight_bits.value contradicts",
        ),
    ],
)
def test_every_family_tells_a_mistake_with_its_line(tmp_path, name, old, new, sentence):
    text = (MODELLED / f"{name}.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SpokeshaveError, match=sentence) as caught:
        load_device(str(path))
    assert re.match(rf"{re.escape(str(path))}, line \d+: ", str(caught.value))


def test_every_figure_that_comes_along_has_a_source_and_an_honest_status():
    for path in MODELLED.glob("*.toml"):
        for name, table in _figures(tomllib.loads(path.read_text())):
            assert table["status"] in ("seen", "recalled", "inferred"), (path.name, name)
            assert len(table["source"]) >= 10, (path.name, name)


def _figures(table, name=""):
    if "value" in table:
        return [(name, table)]
    nested = [(f"{name}.{key}", value) for key, value in table.items() if isinstance(value, dict)]
    return [found for key, value in nested for found in _figures(value, key)]


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(SpokeshaveError, match=r"nowhere\.toml cannot be read: No such file"):
        load_device(str(tmp_path / "nowhere.toml"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpokeshaveError, match=r"binary\.toml cannot be read: not a text"):
        load_device(str(binary))


def test_an_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(
        SpokeshaveError, match=r"no device .iphone.; known devices are host, .*galaxy-s10-cpu"
    ):
        load_device("iphone")
