"""Cells counted by Yosys."""

import tomllib
from pathlib import Path

import pytest

from spokeshave.devices.fpga.verilog import synthesis
from spokeshave.devices.fpga.verilog.lanes import pair_dot_product
from spokeshave.devices.fpga.verilog.memories import memory
from spokeshave.devices.fpga.verilog.module import Module
from spokeshave.devices.fpga.verilog.synthesis import PACKAGE, VERSION, counted_resources, why_not_counted
from spokeshave.errors import SpokeshaveError

PROJECT = Path(__file__).parents[4] / "pyproject.toml"
needs_yosys = pytest.mark.skipif(why_not_counted() is not None, reason=why_not_counted() or "")


@needs_yosys
@pytest.mark.slow
def test_two_products_take_one_block_and_memories_are_block_rams():
    found = counted_resources(pair_dot_product(4, 8, 9))
    assert found.dsp == 4
    assert found.lut > 4 * 2 * 17 / 2
    assert counted_resources(memory(72, 512)).values() == (0, 0, 0, 1)


@needs_yosys
@pytest.mark.slow
def test_what_yosys_refuses_is_said():
    with pytest.raises(SpokeshaveError, match="Yosys ended with"):
        counted_resources(Module("broken", (), "module broken (;"))


def test_the_version_is_that_of_the_extra():
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    assert f"{PACKAGE}=={VERSION}" in extras["fpga"]


def test_missing_yosys_is_one_sentence(monkeypatch):
    monkeypatch.setattr(synthesis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpokeshaveError, match=r"pip install 'spokeshave\[fpga\]'"):
        counted_resources(memory(8, 6))
