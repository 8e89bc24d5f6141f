"""Cycles against a simulation that knows nothing but who waits for whom."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.fpga.test_schedule import ENGINES, PRODUCTS

from spokeshave.devices.fpga.cycles import (
    compute_cycles,
    count,
    load_cycles,
    product_cycles,
    step_cycles,
    store_cycles,
)
from spokeshave.devices.fpga.engine import HANDOVER, Engine, Lanes
from spokeshave.devices.fpga.schedule import Job, Outer, Product, jobs


def by_ticking(engine: Engine, work: list[Job]) -> int:
    """Three workers, cycle by cycle: each takes its next job as soon as what it waits for is done."""
    groups, group = [], -1
    for job in work:
        group += job.first
        groups.append(group)
    last = {groups[index]: index for index, job in enumerate(work) if job.last}
    length = {
        "load": [load + HANDOVER if (load := load_cycles(engine, job)) else 0 for job in work],
        "compute": [compute_cycles(engine, job) for job in work],
        "store": [store_cycles(engine, work[index]) for index in last.values()],
    }
    done = {"load": 0, "compute": 0, "store": 0}  # jobs finished
    left = dict.fromkeys(done, 0)
    started = dict.fromkeys(done, 0)

    def may(phase: str, number: int) -> bool:
        if number >= len(length[phase]):
            return False
        if phase == "load":
            return length["load"][number] == 0 or done["compute"] >= number - 1
        if phase == "compute":
            stored = not work[number].first or done["store"] >= groups[number] - 1
            return done["load"] > number and stored
        return done["compute"] > last[number]

    cycle = 0
    while True:
        moved = True
        while moved:
            moved = False
            for phase in done:
                if started[phase] > done[phase] and left[phase] == 0:
                    done[phase] += 1
                    moved = True
                if started[phase] == done[phase] and may(phase, started[phase]):
                    left[phase] = length[phase][started[phase]]
                    started[phase] += 1
                    moved = True
        if all(done[phase] == len(length[phase]) for phase in done):
            return cycle
        cycle += 1
        left = {phase: max(0, value - 1) for phase, value in left.items()}


@settings(max_examples=60, deadline=None)
@given(ENGINES, PRODUCTS, st.sampled_from(("rows", "positions")))
def test_counting_is_ticking(engine: Engine, product: Product, outer: Outer) -> None:
    work = list(jobs(engine, product, outer))
    assert count(engine, work).total == by_ticking(engine, work)


@settings(deadline=None)
@given(ENGINES, PRODUCTS)
def test_no_phase_is_longer_than_the_whole(engine: Engine, product: Product) -> None:
    found = product_cycles(engine, product)
    assert max(found.load, found.compute, found.store) <= found.total
    assert found.total >= product.multiply_adds / engine.products


def test_weights_that_stay_are_not_loaded_again() -> None:
    engine, product = Engine(Lanes(int8=64), columns=32, load_bytes=32), Product((("int8", 512),), 128, 1)
    staying, streamed = step_cycles(engine, product), product_cycles(engine, product)
    assert staying.load == 4
    assert streamed.total > 50 * staying.total / 8
    narrow = Engine(Lanes(int8=64), columns=32, load_bytes=32, depth=31)
    assert step_cycles(narrow, product).load > 8 * 4 * 64


def test_products_behind_each_other_overlap() -> None:
    engine, product = Engine(Lanes(int8=32), columns=32), Product((("int8", 197),), 64, 197)
    one, three, four, twelve = (product_cycles(engine, product, times) for times in (1, 3, 4, 12))
    assert three.total < 3 * one.total
    assert twelve.total == four.total + 8 * (four.total - three.total)
    whole = count(engine, [*jobs(engine, product, twelve.outer)] * 12)
    assert abs(twelve.total - whole.total) < 0.01 * whole.total
    assert (twelve.load, twelve.compute, twelve.store) == (whole.load, whole.compute, whole.store)


def test_a_starved_engine_waits_for_its_loads() -> None:
    product = Product((("int8", 256),), 512, 32)
    lanes, rates = Lanes(int8=32), (4, 64)
    slow, fast = (product_cycles(Engine(lanes, 32, load_bytes=rate), product) for rate in rates)
    assert slow.total > 4 * fast.total
    assert slow.load > 0.9 * slow.total
    assert fast.compute > 0.8 * fast.total
