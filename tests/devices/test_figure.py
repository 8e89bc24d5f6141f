"""Figures of devices that are set by hand are held to what their files could say."""

import pytest

from spokeshave.devices import load_device
from spokeshave.errors import SpokeshaveError


@pytest.mark.parametrize(
    ("name", "figures", "sentence"),
    [
        ("isaac", {"variation": -1}, r"isaac: variation must be a number of at least 0, not -1"),
        ("isaac", {"variation": 1e29}, r"isaac: variation must be at most 10, not 1e\+29"),
        (
            "isaac",
            {"converters": 0.5},
            r"isaac: converters must be a whole number from 1 to 1000000000, not 0\.5",
        ),
        ("isaac", {"effective_bits": 17}, r"isaac: effective_bits must be at most input_bits \(16\), not 17"),
        ("isaac", {"rows": 100}, r"rows"),
        ("isaac", {"nosuch": 1}, r"isaac has no figure 'nosuch'; it has rows"),
        ("aqfp", {"height": -3}, r"aqfp: height must be a whole number from 1 to 4096, not -3"),
        ("aqfp", {"phases": 3}, r"aqfp: phases must be a multiple of 4, not 3"),
        ("aqfp", {"cell_junctions": 0.5}, r"aqfp: cell_junctions must be a whole number"),
        ("aqfp", {"attenuation": 1e29}, r"aqfp: attenuation must be at most 10"),
        ("zcu102", {"dsp": 10}, r"the engine needs 1,088 DSP, .* of 10"),
        ("zcu102", {"clock": float("nan")}, r"zcu102: clock must be a positive number, not nan"),
        ("zcu102", {"uram": 3}, r"zcu102 has no figure 'uram'; it has .*dsp"),
        ("zcu102", {"columns": 3}, r"zcu102 has no figure 'columns'"),
    ],
)
def test_figures_that_no_such_device_has(name, figures, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        load_device(name).with_figures(**figures)
