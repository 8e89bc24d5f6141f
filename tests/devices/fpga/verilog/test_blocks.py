"""The CSB engine in a simulator: the masked product, with and without shared work."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.fpga.verilog.simulators import needs

from spokeshave.devices.fpga.csb import CSBEngine, schedule
from spokeshave.devices.fpga.verilog.blocks import (
    BEFORE,
    BEHIND,
    OWN,
    BlockEngine,
    block_engine,
    item_words,
    items_of,
    programs,
    shared,
)
from spokeshave.devices.fpga.verilog.simulation import lint
from spokeshave.devices.fpga.verilog.vectors import run_vectors
from spokeshave.schemes.compressed_blocks import CompressedBlocks

ROWS, INPUTS, BLOCK, LANES = 32, 24, (8, 12), 4
ENGINE = BlockEngine(lanes=LANES, columns=3, rows=ROWS // LANES, inputs=INPUTS)
SETTLING = 12


def bits_of(words, count):
    return torch.tensor([[word >> bit & 1 for bit in range(count)] for word in words])


def levels_and_blocks(block=BLOCK):
    """A matrix whose upper rows are worth most, so that lanes have very different loads."""
    weight = torch.randn(ROWS, INPUTS) * torch.linspace(2, 0.2, ROWS)[:, None]
    scheme = CompressedBlocks(0.6, block)
    kept = scheme.project(weight)
    levels = (kept / kept.abs().max() * 127).round().long()
    return levels, scheme.pack(kept)


def run(program, x):
    """Totals of all rows, and the cycles in which items came."""
    words = item_words(ENGINE, program)
    items = [0, *words, *[0] * (SETTLING + ENGINE.rows)]
    reading = torch.arange(len(items)) - (len(items) - ENGINE.rows)
    bits = LANES * sum(ENGINE.fields)
    made = run_vectors(
        block_engine(ENGINE),
        {
            "reset": (torch.arange(len(items)) == 0).long(),
            "x": x.expand(len(items), -1),
            "row": reading.clamp(min=0),
            "items": bits_of(items, bits),
        },
    )
    totals = made["totals"][-ENGINE.rows :]
    return totals, len(words)


@needs("icarus")
def test_shared_work_gives_the_masked_product_sooner():
    levels, packed = levels_and_blocks()
    x = torch.randint(-128, 128, (INPUTS,))
    owned = items_of(packed, levels, BLOCK[0], ENGINE)
    loads = [len(items) for items in owned]
    alone, longest = run(programs(owned, [(0, 0)] * LANES), x)
    helped, shortest = run(programs(owned, shared(loads)), x)
    expected = (levels @ x).view(LANES, ENGINE.rows).T
    assert torch.equal(alone, expected)
    assert torch.equal(helped, expected)
    assert longest == max(loads)
    assert shortest < 0.75 * longest


def cycles_until_read(program, x):
    """Up to the first in which the total stands that the lane with the most to do works on last."""
    lane = max(range(LANES), key=lambda number: len(program[number]))
    whose, item = program[lane][-1]
    owner = lane + {OWN: 0, BEFORE: -1, BEHIND: 1}[whose]
    items = [0, *item_words(ENGINE, program), *[0] * SETTLING]
    made = run_vectors(
        block_engine(ENGINE),
        {
            "reset": (torch.arange(len(items)) == 0).long(),
            "x": x.expand(len(items), -1),
            "row": torch.full((len(items),), item.rows[0]),
            "items": bits_of(items, LANES * sum(ENGINE.fields)),
        },
    )
    totals = made["totals"][:, owner]
    return 1 + int((totals != totals[-1]).nonzero().max())  # items come from cycle 1 on


@needs("icarus")
@pytest.mark.parametrize("sharing", ["none", "down"])
def test_a_chain_of_groups_takes_the_models_cycles(sharing):
    """One tile, a group a lane. Lanes share single items and not strips, and hand their sums over without a cycle."""
    block = (ROWS // LANES, INPUTS)
    levels, packed = levels_and_blocks(block)
    chain = CSBEngine(down=LANES, across=1, lanes=2, width=ENGINE.columns, sharing=sharing)
    modelled = schedule(chain, levels, block).cycles
    owned = items_of(packed, levels, block[0], ENGINE)
    loads = [len(items) for items in owned]
    given_ = [(0, 0)] * LANES if sharing == "none" else shared(loads)
    program = programs(owned, given_)
    simulated = cycles_until_read(program, torch.randint(1, 128, (INPUTS,)))
    if sharing == "none":
        assert simulated == modelled
    else:
        assert simulated == max(len(items) for items in program) + chain.fill - 1
        assert 0.8 * modelled < simulated < modelled


def by_force(loads):
    """The least longest load over all ways to give."""
    choices = [
        [(before, behind) for before in range(load + 1) for behind in range(load + 1 - before)]
        for load in loads
    ]
    return min(
        longest(loads, given_) for given_ in product(*choices) if not given_[0][0] and not given_[-1][1]
    )


def longest(loads, given_):
    done = [load - before - behind for load, (before, behind) in zip(loads, given_, strict=True)]
    for lane, (before, behind) in enumerate(given_):
        if before:
            done[lane - 1] += before
        if behind:
            done[lane + 1] += behind
    return max(done)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=3) | st.lists(st.integers(0, 2), min_size=4, max_size=4)
)
def test_no_other_sharing_is_shorter(loads):
    given_ = shared(loads)
    assert not given_[0][0]
    assert not given_[-1][1]
    assert longest(loads, given_) == by_force(loads)


@needs("verilator")
@pytest.mark.parametrize("engine", [ENGINE])
def test_the_strictest_check_finds_nothing(engine, tmp_path):
    assert lint(block_engine(engine), tmp_path) == ""
