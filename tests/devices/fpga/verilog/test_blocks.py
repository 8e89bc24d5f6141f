"""The CSB engine in a simulator: the masked product in the model's cycles, with and without shared work."""

import pytest
import torch
from tests.devices.fpga.verilog.simulators import needs

from spokeshave.devices.fpga.verilog.block_run import block_product, run_blocks
from spokeshave.devices.fpga.verilog.blocks import OWN, block_engine
from spokeshave.devices.fpga.verilog.simulation import lint
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.compressed_blocks import CompressedBlocks

ROWS, INPUTS, BLOCK, LANES, COLUMNS = 64, 48, (8, 24), 4, 3


def pruned_levels(rows=ROWS):
    """A matrix whose upper rows are worth most, so that lanes have very different loads."""
    weight = torch.randn(rows, INPUTS) * torch.linspace(2, 0.2, rows)[:, None]
    kept = CompressedBlocks(0.6, BLOCK).project(weight)
    return (kept / kept.abs().max() * 127).round().long()


@needs("icarus")
@pytest.mark.parametrize(("sharing", "rows"), [("none", ROWS), ("down", ROWS), ("down", ROWS - 12)])
def test_schedules_are_carried_out_in_the_models_cycles(sharing, rows):
    """Bit for bit the masked product; sums of neighbours are handed over without a cycle of their own."""
    levels, x = pruned_levels(rows), torch.randint(1, 128, (2, INPUTS))
    product = block_product(levels, BLOCK, LANES, COLUMNS, sharing)
    totals = run_blocks(product, x)
    assert torch.equal(product.sums(totals), x @ levels.T)
    assert product.cycles(totals) == [product.modelled_cycles] * 2
    assert abs(product.modelled_cycles / product.schedule.cycles - 1) < 0.02


def test_sharing_makes_the_program_shorter():
    levels = pruned_levels()
    alone, helped = (block_product(levels, BLOCK, LANES, COLUMNS, way).program for way in ("none", "down"))
    assert len(helped[0]) < 0.9 * len(alone[0])
    whose = {given[0] for items in helped for given in items if given is not None}
    assert whose > {OWN}


@needs("icarus")
def test_a_lane_may_give_all_of_its_work_away():
    """Two lanes, both neighbours of one that has most: as one of four rows leaves nothing of its own."""
    levels = torch.zeros(24, 24, dtype=torch.int64)
    levels[:8], levels[8:10, :3], levels[16, 0] = 3, 5, 7
    product = block_product(levels, (8, 24), 3, COLUMNS)
    x = torch.randint(1, 128, (1, 24))
    assert torch.equal(product.sums(run_blocks(product, x)), x @ levels.T)


@pytest.mark.parametrize(
    ("levels", "block", "sentence"),
    [
        (
            torch.ones(16, 48),
            (8, 24),
            "keep every row and column: the plan gives it no scheme compressed_blocks",
        ),
        (torch.zeros(16, 48), (8, 24), "all its weights are 0"),
        (torch.ones(16, 48), (32, 24), "blocks of 32x24 are larger than its matrix, 16x48"),
        (-128 * torch.eye(48), (8, 24), "its weights are more than 127"),
    ],
)
def test_matrices_that_are_not_for_it_are_told(levels, block, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        block_product(levels.long(), block, LANES, COLUMNS)


@needs("verilator")
def test_the_strictest_check_finds_nothing(tmp_path):
    engine = block_product(pruned_levels(), BLOCK, LANES, COLUMNS).engine
    assert lint(block_engine(engine), tmp_path) == ""
