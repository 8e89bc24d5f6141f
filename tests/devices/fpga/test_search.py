"""The search beside brute force, and the question of Auto-ViT-Acc."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spokeshave.devices import load_device
from spokeshave.devices.fpga.answer import PRECISIONS, Precision, answer, best_engine, everywhere
from spokeshave.devices.fpga.device import FPGADevice
from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.mapped import map_network
from spokeshave.devices.fpga.search import find_engine
from spokeshave.devices.fpga.write import write_fpga
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import FixedPoint, PowerOfTwo
from spokeshave.workload import Layer, Workload

MIXED = PRECISIONS[1]


def chip(**budget: float) -> FPGADevice:
    device = load_device("zcu102")
    assert isinstance(device, FPGADevice)
    return device.with_budget(**budget)


def linear(rows: int, columns: int, positions: int) -> Layer:
    shapes = (1, positions, columns), (1, positions, rows)
    return Layer("fc", "linear", rows, columns, positions, *shapes, "float32", "fc.weight", (rows, columns))


BLOCK = Workload((linear(192, 128, 50), replace(linear(128, 192, 50), name="fc2", parameter="fc2.weight")))


@settings(max_examples=5, deadline=None)
@given(st.sampled_from((60, 150, 400)), st.sampled_from((12_000, 30_000)))
def test_what_is_found_fits(dsp: int, lut: int) -> None:
    device = chip(dsp=dsp, lut=lut)
    design = find_engine(device, device.works(BLOCK, MIXED.plan(0.5)))
    assert design.device.used.dsp <= dsp + 1e-6
    assert design.device.used.lut <= lut + 1e-6
    assert design.device.misfit() is None
    assert design.samples_per_second == pytest.approx(design.device.clock / design.mapped.cycles)


def test_few_engines_are_better_than_the_one_that_was_found() -> None:
    device = chip(dsp=150, lut=20_000)
    works = device.works(BLOCK, MIXED.plan(0.5))
    found = find_engine(device, works).mapped.cycles
    by_hand = []
    for columns, int8, shift, outputs in product((16, 32, 64), range(2, 17, 2), range(0, 17, 2), (8, 16)):
        engine = Engine(
            Lanes(int8=int8, shift=shift), columns, depth=12, positions=50, load_bytes=80, outputs=outputs
        )
        if replace(device, engine=engine).misfit() is None:
            by_hand.append(map_network(engine, works).cycles)
    assert by_hand
    assert found <= 1.03 * min(by_hand)


@pytest.mark.parametrize("precision", PRECISIONS[1:3], ids=lambda precision: precision.name)
def test_formats_that_bytes_hold_are_no_slower_than_bytes(precision: Precision) -> None:
    device = chip(dsp=150, lut=20_000)
    fixed, mixed = (
        best_engine(device, BLOCK, *choice) for choice in ((PRECISIONS[0], 0.0), (precision, 0.75))
    )
    assert mixed.design.mapped.cycles <= fixed.design.mapped.cycles


def test_known_engines_are_tried() -> None:
    small, large = chip(dsp=60, lut=12_000), chip(dsp=150, lut=25_000)
    known = best_engine(large, BLOCK, MIXED, 0.5).design
    again = best_engine(
        replace(small, figures=large.figures), BLOCK, MIXED, 0.5, [known.device.engine]
    ).design
    assert again.mapped.cycles == known.mapped.cycles
    other = find_engine(large, large.works(BLOCK, MIXED.plan(0.25)), [known.device.engine])
    assert other.mapped.cycles <= known.device.mapped(BLOCK, MIXED.plan(0.25)).cycles


def test_rows_of_powers_of_two_help_until_luts_run_out() -> None:
    device = chip(dsp=150, lut=25_000)
    rates = [
        best_engine(device, BLOCK, MIXED, share).design.samples_per_second for share in (0.125, 0.25, 0.375)
    ]
    fixed = best_engine(device, BLOCK, PRECISIONS[0], 0.0).design.samples_per_second
    assert fixed < rates[0] < max(rates[1:])


def test_the_most_precise_formats_that_reach_the_rate() -> None:
    device = chip(dsp=150, lut=25_000)
    fixed = best_engine(device, BLOCK, PRECISIONS[0], 0.0).design.samples_per_second
    easy, hard = (answer(device, BLOCK, factor * fixed) for factor in (0.9, 1.2))
    assert (easy.precision, easy.share) == ("8 bits", 0.0)
    assert hard.precision == "8 bits and powers of two"
    assert hard.design.samples_per_second >= 1.2 * fixed
    lower = [share for share in MIXED.shares if share < hard.share]
    assert all(best_engine(device, BLOCK, MIXED, s).design.samples_per_second < 1.2 * fixed for s in lower)
    assert "modelled" in hard.sentence()


def test_rates_out_of_reach_name_the_fastest() -> None:
    rows = MixedRows(FixedPoint(8), PowerOfTwo(4), 0.25)
    quick = (Precision("mixed", lambda share: everywhere(replace(rows, share=share)), (0.25, 0.5)),)
    with pytest.raises(
        SpokeshaveError, match=r"no engine reaches 1e\+09 samples .* zcu102; the fastest: mixed"
    ):
        answer(chip(dsp=150, lut=20_000), BLOCK, 1e9, quick)
    with pytest.raises(SpokeshaveError, match="a rate must be above 0, not -1"):
        answer(chip(), BLOCK, -1)


def test_budgets_beyond_the_chip_are_refused() -> None:
    with pytest.raises(
        SpokeshaveError, match="zcu102 has 2,520 DSP, of which designs can use 2,016: 3,000 are more"
    ):
        chip(dsp=3_000)
    with pytest.raises(SpokeshaveError, match="no engine for this network fits zcu102"):
        find_engine(chip(dsp=10), chip().works(BLOCK))


def test_networks_beyond_the_memory_are_refused() -> None:
    with pytest.raises(SpokeshaveError, match="times the memory of zcu102"):
        answer(chip().with_figures(memory=1000), BLOCK, 1)


def test_powers_of_two_alone_need_dsp_blocks_to_be_rescaled() -> None:
    choices = PRECISIONS[0], PRECISIONS[3]
    found = answer(chip(dsp=16, lut=30_000), BLOCK, 1, choices)
    assert found.precision == "powers of two alone"
    assert found.design.device.used.dsp == 16
    assert found.design.device.engine.lanes.rows == found.design.device.engine.lanes.shift
    with pytest.raises(
        SpokeshaveError, match="rescale its sums take 16 DSP blocks at least, of 0; allow 16, and LUTs"
    ):
        answer(chip(dsp=0), BLOCK, 1, choices)


def test_scales_of_powers_of_two_need_no_dsp_blocks_but_for_products() -> None:
    device = chip(dsp=150, lut=20_000)
    by_shift = replace(device, engine=replace(device.engine, requantizer="shift"))
    found = answer(by_shift, BLOCK, 1)
    assert found.precision == "8 bits, scales that are powers of two"
    lanes = found.design.device.engine
    assert found.design.device.used.dsp == lanes.lanes.int8 * lanes.columns / 2
    with pytest.raises(SpokeshaveError, match="shifts alone"):
        by_shift.cost(BLOCK, everywhere(PowerOfTwo(4)))


def test_binary_lanes_are_searched_for_too() -> None:
    device = load_device("zcu102-binary")
    assert isinstance(device, FPGADevice)
    last = replace(linear(10, 192, 50), name="last", parameter="last.weight")
    network = Workload((*BLOCK.layers, last))
    found = answer(device.with_budget(lut=30_000), network, 1)
    assert (found.precision, found.design.device.engine.lanes.binary) == (
        "signs",
        found.design.device.engine.rows,
    )
    assert found.design.device.misfit() is None
    whole = answer(device, network, 1)
    assert whole.design.samples_per_second >= 1 / device.cost(network, whole.plan).latency_seconds


def test_a_found_engine_is_a_device_file(tmp_path: Path) -> None:
    device = chip(dsp=150, lut=20_000)
    design = find_engine(device, device.works(BLOCK))
    source = 'found by "a test" in C:\\new\\tables,\n\x7f by löten'
    write_fpga(replace(design.device, about='a "chip" \\'), tmp_path / 'my "own".toml', source)
    read = load_device(str(tmp_path / 'my "own".toml'))
    assert isinstance(read, FPGADevice)
    assert (read.engine, read.name, read.about) == (design.device.engine, 'my "own"', 'a "chip" \\')
    assert read.cost(BLOCK).latency_seconds == design.device.cost(BLOCK).latency_seconds
    assert read.figures["columns"].source == source
