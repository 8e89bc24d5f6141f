import gc
import time
from collections import Counter

import pytest
import torch

from spokeshave.errors import SpokeshaveError
from spokeshave.measure import InterleavedRun, interleave


def product_of(size):
    matrix = torch.randn(size, size)
    return lambda: matrix @ matrix


def test_orders_contenders_by_the_work_they_do(one_thread):
    run = interleave({"large": product_of(512), "small": product_of(128)}, rounds=5, slot_seconds=0.02)
    assert [timing.name for timing in run.timings] == ["small", "large"]
    assert run.ratio("large", "small").lower_quartile > 2
    assert all(timing.rounds == 5 for timing in run.timings)


def test_quartiles_and_ratios_are_those_counted_by_hand():
    run = InterleavedRun({"a": (2.0, 4.0, 6.0, 8.0, 30.0), "b": (1.0, 2.0, 3.0, 4.0, 5.0)}, {"a": 7, "b": 9})
    timing = run.timing("a")
    assert (timing.lower_quartile, timing.median_seconds, timing.upper_quartile) == (4.0, 6.0, 8.0)
    assert (timing.calls, timing.spread) == (7, pytest.approx(4 / 6))
    ratio = run.ratio("a", "b")
    assert (ratio.lower_quartile, ratio.median, ratio.upper_quartile) == (2.0, 2.0, 2.0)
    assert run.ratio("b", "a").median == 0.5


def test_drift_of_the_machine_cancels_in_ratios():
    drift = (1.0, 1.5, 2.0, 4.0, 3.0)
    run = InterleavedRun({"a": tuple(3 * x for x in drift), "b": drift}, {"a": 1, "b": 1})
    assert run.ratio("a", "b").spread == 0
    assert run.timing("a").spread > 0.5


def test_every_contender_runs_in_every_round_and_the_first_place_goes_round():
    order = []
    contenders = {name: (lambda name=name: order.append(name)) for name in "abc"}
    seen = []
    interleave(contenders, rounds=3, slot_seconds=0, progress=lambda *step: seen.append(step[:2]))
    assert [order[-18 + 6 * index] for index in range(3)] == ["a", "b", "c"]
    assert Counter(order[-18:]) == {"a": 6, "b": 6, "c": 6}
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_slot_holds_enough_calls_and_garbage_collection_comes_back():
    states = []
    run = interleave({"quick": lambda: states.append(gc.isenabled())}, rounds=3, slot_seconds=0.001)
    assert run.timing("quick").calls > 100
    assert not states[-1]
    assert gc.isenabled()


def test_a_contender_that_fails_leaves_garbage_collection_on():
    calls = iter(range(10))

    def fails_late():
        if next(calls) > 7:
            raise RuntimeError("late")

    with pytest.raises(RuntimeError, match="late"):
        interleave({"fails": fails_late}, rounds=9, slot_seconds=0)
    assert gc.isenabled()


def test_processor_time_leaves_out_waiting(one_thread):
    matrix = torch.randn(64, 64)

    def waits():
        time.sleep(0.02)
        return matrix @ matrix

    seconds = {clock: interleave({"waits": waits}, rounds=3, clock=clock) for clock in ("wall", "processor")}
    assert seconds["wall"].timing("waits").median_seconds > 0.02
    assert 0 < seconds["processor"].timing("waits").median_seconds < 0.015


def test_bad_requests_are_told_in_one_sentence():
    with pytest.raises(SpokeshaveError, match="at least one contender"):
        interleave({})
    with pytest.raises(SpokeshaveError, match="at least 3"):
        interleave({"a": lambda: None}, rounds=2)
