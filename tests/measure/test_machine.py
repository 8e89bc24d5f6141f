import json
import os
from dataclasses import asdict

import torch

from spokeshave.measure import describe_machine
from spokeshave.measure.machine import _cache_sizes


def test_the_record_goes_into_json_and_names_what_is_here():
    machine = describe_machine(threads=3)
    assert json.loads(json.dumps(asdict(machine)))["cpu"] == machine.cpu != ""
    assert machine.threads == 3
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.versions["torch"] == torch.__version__
    assert {"python", "numpy", "compiler"} <= machine.versions.keys()


def test_cache_sizes_are_read_and_what_cannot_be_read_is_left_out(tmp_path):
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("2", "Unified", "2M"), ("3", "Unified", "?")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    (tmp_path / "index9").mkdir()
    assert _cache_sizes(tmp_path) == {"L1d": 48 << 10, "L2": 2 << 20}
    assert _cache_sizes(tmp_path / "nowhere") == {}
