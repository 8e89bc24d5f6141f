"""The CSB engine in a simulator: the masked product in the model's cycles, with and without shared work."""

import pytest
import torch
from tests.devices.fpga.verilog.simulators import needs

from spokeshave.devices.fpga.csb import CSBEngine, schedule
from spokeshave.devices.fpga.verilog.blocks import (
    BEFORE,
    BEHIND,
    OWN,
    BlockEngine,
    block_engine,
    item_words,
    program_of,
)
from spokeshave.devices.fpga.verilog.simulation import lint
from spokeshave.devices.fpga.verilog.vectors import run_vectors
from spokeshave.schemes.compressed_blocks import CompressedBlocks

ROWS, INPUTS, BLOCK, LANES = 64, 48, (8, 24), 4
ENGINE = BlockEngine(lanes=LANES, columns=3, rows=ROWS // LANES, inputs=INPUTS)
SETTLING = 12


def bits_of(words, count):
    return torch.tensor([[word >> bit & 1 for bit in range(count)] for word in words])


def pruned_levels():
    """A matrix whose upper rows are worth most, so that lanes have very different loads."""
    weight = torch.randn(ROWS, INPUTS) * torch.linspace(2, 0.2, ROWS)[:, None]
    kept = CompressedBlocks(0.6, BLOCK).project(weight)
    return (kept / kept.abs().max() * 127).round().long()


def run(program, x):
    """Totals of all rows, `[rows of a lane, lanes]`, and cycles up to the last item's total in its place."""
    words, (lane, (whose, item)) = item_words(ENGINE, program), last_item(program)
    items = [0, *words, *[0] * (SETTLING + ENGINE.rows)]
    settled = len(items) - ENGINE.rows
    made = run_vectors(
        block_engine(ENGINE),
        {
            "reset": (torch.arange(len(items)) == 0).long(),
            "x": x.expand(len(items), -1),
            "row": torch.tensor([item.rows[0]] * settled + list(range(ENGINE.rows))),
            "items": bits_of(items, LANES * sum(ENGINE.fields)),
        },
    )
    totals = made["totals"]
    watched = totals[:settled, lane + {OWN: 0, BEFORE: -1, BEHIND: 1}[whose]]
    return totals[settled:], 1 + int((watched != watched[-1]).nonzero().max())  # items come from cycle 1 on


def last_item(program):
    return next((lane, items[-1]) for lane, items in enumerate(program) if items[-1] is not None)


@needs("icarus")
@pytest.mark.parametrize("sharing", ["none", "down"])
def test_schedules_are_carried_out_in_the_models_cycles(sharing):
    """Bit for bit the masked product; sums of neighbours are handed over without a cycle of their own."""
    levels, x = pruned_levels(), torch.randint(1, 128, (INPUTS,))
    chain = CSBEngine(down=LANES, across=1, lanes=2, width=ENGINE.columns, sharing=sharing)
    found = schedule(chain, levels, BLOCK)
    totals, cycles = run(program_of(found, levels, BLOCK[0], ENGINE), x)
    bands = (levels @ x).view(-1, LANES, BLOCK[0])
    assert torch.equal(totals, bands.transpose(0, 1).reshape(LANES, -1).T)
    assert cycles == found.cycles - (sharing == "down")
    assert abs(cycles / found.cycles - 1) < 0.02


def test_sharing_makes_the_program_shorter():
    levels = pruned_levels()
    alone, helped = (
        program_of(
            schedule(CSBEngine(LANES, 1, 2, ENGINE.columns, way), levels, BLOCK), levels, BLOCK[0], ENGINE
        )
        for way in ("none", "down")
    )
    assert len(helped[0]) < 0.9 * len(alone[0])
    whose = {given[0] for items in helped for given in items if given is not None}
    assert whose > {OWN}


@needs("verilator")
@pytest.mark.parametrize("engine", [ENGINE])
def test_the_strictest_check_finds_nothing(engine, tmp_path):
    assert lint(block_engine(engine), tmp_path) == ""
