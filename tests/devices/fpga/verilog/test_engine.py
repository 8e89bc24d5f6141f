"""The generated engine in a simulator: levels of the executor, cycles of the model."""

from dataclasses import replace

import pytest
import torch
from tests.devices.fpga.verilog.simulators import needs

from spokeshave.compiler.quantization.rescaling import rescaled
from spokeshave.devices.fpga.cycles import count
from spokeshave.devices.fpga.engine import Engine, Lanes
from spokeshave.devices.fpga.schedule import jobs, loading_job, stays
from spokeshave.devices.fpga.verilog.engine import generate_engine
from spokeshave.devices.fpga.verilog.engine_run import simulated_engine
from spokeshave.devices.fpga.verilog.product import Numbers, load_of
from spokeshave.devices.fpga.verilog.simulation import lint
from spokeshave.errors import SpokeshaveError

MIXED = Engine(Lanes(int8=4, int4=2, shift=6), columns=8, depth=4, positions=8, load_bytes=16, outputs=4)
SMALL = {"depth": 16, "positions": 8, "load_bytes": 16}
UNSIGNED = Engine(Lanes(int8=4), columns=5, outputs=3, signed=False, requantizer="shift", **SMALL)
BINARY = Engine(Lanes(binary=7), columns=16, outputs=4, requantizer="shift", **SMALL)
STARVED = Engine(Lanes(shift=3), columns=4, depth=3, positions=2, load_bytes=2, outputs=1)
ENGINES = {"mixed": MIXED, "unsigned": UNSIGNED, "binary": BINARY, "starved": STARVED}
ROWS = {
    "mixed": {"int8": 7, "int4": 5, "shift": 9},
    "unsigned": {"int8": 9},
    "binary": {"binary": 20},
    "starved": {"shift": 7},
}
SIZES = [(3, 1), (20, 9), (77, 30)]


def weights_of(kind, count, columns):
    if kind == "shift":
        signs, orders = torch.randint(-1, 2, (count, columns)), torch.randint(0, 7, (count, columns))
        return signs << orders
    if kind == "binary":
        return 2 * torch.randint(0, 2, (count, columns)) - 1
    most = 127 if kind == "int8" else 7
    return torch.randint(-most, most + 1, (count, columns))


def inputs_of(engine, columns, positions):
    if engine.lanes.binary:
        return 2 * torch.randint(0, 2, (columns, positions)) - 1
    low, high = (-128, 128) if engine.signed else (0, 256)
    return torch.randint(low, high, (columns, positions))


def numbers_for(engine, rows, columns, positions):
    """A random product whose rows of all formats are mixed."""
    kinds = [kind for kind, number in rows.items() for _ in range(number)]
    weights = torch.cat([weights_of(kind, number, columns) for kind, number in rows.items()])
    order = torch.randperm(len(kinds))
    bias = torch.randint(-1000, 1000, order.shape)
    if engine.requantizer == "multiplier":
        multiplier, shift = (
            torch.randint(1 << 30, (1 << 31) - 1, order.shape),
            torch.randint(36, 43, order.shape),
        )
    else:
        multiplier, shift = torch.ones_like(order), torch.randint(0, 9, order.shape)
    kinds, inputs = tuple(kinds[row] for row in order), inputs_of(engine, columns, positions)
    bounds = (-128, 127, 0) if engine.signed else (-3, 252, 3)
    return Numbers(weights[order], kinds, inputs, bias, multiplier, shift, *bounds)


def expected(numbers):
    sums = numbers.weights @ numbers.inputs + numbers.bias[:, None]
    nothing = torch.zeros((), dtype=torch.int64)
    made = rescaled(sums, numbers.multiplier[:, None], numbers.shift[:, None], "once", nothing)
    return made.clamp(numbers.low, numbers.high) + numbers.zero_point


@needs("icarus")
@pytest.mark.parametrize("name", ENGINES)
def test_levels_are_the_executors_and_cycles_the_models(name, tmp_path):
    engine = ENGINES[name]
    simulated = simulated_engine(engine, tmp_path, "icarus")
    for columns, positions in SIZES:
        for outer in ("rows", "positions"):
            numbers = numbers_for(engine, ROWS[name], columns, positions)
            made = simulated.run(numbers, outer)
            assert torch.equal(made.levels, expected(numbers))
            assert made.cycles == count(engine, jobs(engine, numbers.product, outer)).total
            assert len(made.levels.unique()) > 2


@needs("icarus")
@pytest.mark.parametrize(("name", "columns", "positions"), [("unsigned", 20, 1), ("mixed", 8, 11)])
def test_weights_that_stay_are_loaded_once(name, columns, positions, tmp_path):
    engine, steps = ENGINES[name], 3
    numbers = numbers_for(engine, ROWS[name], columns, positions)
    inputs = [inputs_of(engine, columns, positions) for _ in range(steps)]
    assert stays(engine, numbers.product)
    made = simulated_engine(engine, tmp_path, "icarus").run_steps(numbers, inputs)
    assert torch.equal(made.levels, torch.stack([expected(replace(numbers, inputs=one)) for one in inputs]))
    step = list(jobs(engine, numbers.product, resident=True))
    assert max(job.weight_base for job in step) > 0
    assert max(job.parameter_base for job in step) > 0
    assert made.cycles == count(engine, [loading_job(engine, numbers.product), *step * steps]).total


@needs("verilator")
@pytest.mark.parametrize("name", ENGINES)
def test_the_strictest_check_finds_nothing(name, tmp_path):
    assert lint(generate_engine(ENGINES[name]), tmp_path) == ""


def test_numbers_that_have_no_place_are_refused():
    numbers = numbers_for(UNSIGNED, {"int8": 2}, 3, 1)
    ones = replace(numbers, weights=numbers.weights * 0 + 1, inputs=numbers.inputs * 0 + 1)
    with pytest.raises(SpokeshaveError, match="takes inputs from 0 to 255"):
        load_of(UNSIGNED, replace(numbers, inputs=numbers.inputs - 300))
    with pytest.raises(SpokeshaveError, match="takes multipliers from 1 to 1"):
        load_of(UNSIGNED, replace(numbers, multiplier=numbers.multiplier + 1))
    with pytest.raises(SpokeshaveError, match="no lanes for shift"):
        load_of(BINARY, replace(ones, kinds=("shift", "shift")))


@pytest.mark.parametrize(("kind", "most"), [("int8", 127), ("int4", 7), ("shift", 64)])
def test_weights_wider_than_a_lane_takes_are_refused(kind, most):
    engine = Engine(Lanes(int8=2, int4=2, shift=2), columns=4)
    numbers = replace(numbers_for(engine, {"int8": 2}, 3, 1), kinds=(kind, kind))
    weights = torch.zeros_like(numbers.weights)
    weights[1, 2] = -most
    assert load_of(engine, replace(numbers, weights=weights)).jobs
    with pytest.raises(
        SpokeshaveError, match=f"{kind} lanes take weights from -{most} to {most}, and one is"
    ):
        load_of(engine, replace(numbers, weights=2 * weights))


def test_accumulators_narrower_than_the_lanes_sums_are_refused():
    narrow = replace(MIXED, accumulator_bits=8)
    with pytest.raises(SpokeshaveError, match=r"columns give sums of (\d+) bits, .* or accumulator_bits=\1"):
        generate_engine(narrow)


def test_sums_that_may_overflow_are_refused():
    numbers = numbers_for(MIXED, {"int8": 4, "shift": 6}, 77, 3)
    narrow = replace(MIXED, accumulator_bits=20)
    with pytest.raises(
        SpokeshaveError, match=r"sums of these numbers may reach \d+, .* 20 bits do not hold; 21 would"
    ):
        load_of(narrow, replace(numbers, weights=numbers.weights * 0 + 64, inputs=numbers.inputs * 0 - 128))
    assert load_of(replace(MIXED, accumulator_bits=21), numbers).jobs


@needs("verilator")
@pytest.mark.slow
def test_verilator_agrees(tmp_path):
    numbers = numbers_for(MIXED, ROWS["mixed"], 77, 30)
    made = simulated_engine(MIXED, tmp_path, "verilator").run(numbers)
    assert torch.equal(made.levels, expected(numbers))
    assert made.cycles == count(MIXED, jobs(MIXED, numbers.product)).total
