"""Cycles of the engine, counted job by job as `engine.py` says it works."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from spokeshave.devices.fpga.engine import HANDOVER, STORE_LATENCY, Engine
from spokeshave.devices.fpga.schedule import Job, Outer, Product, jobs, stays

CHAINED = 4


@dataclass(frozen=True)
class Cycles:
    """Cycles of a product from the first load to the last output, and how many each phase was at work."""

    total: int
    load: int
    compute: int
    store: int
    outer: Outer

    def times(self, count: int) -> "Cycles":
        """So many of it, one behind the other."""
        return Cycles(
            count * self.total, count * self.load, count * self.compute, count * self.store, self.outer
        )


def load_cycles(engine: Engine, job: Job) -> int:
    """Beats of what a job loads."""
    beats = 0
    if job.loads_weights:
        beats += job.words * engine.weight_beats
        beats += job.parameter_words * engine.parameter_beats if job.first else 0
    if job.loads_inputs:
        beats += job.positions * job.words * engine.input_beats
    return beats


def compute_cycles(engine: Engine, job: Job) -> int:
    """Pairs of words, and what is still in the pipeline behind the last."""
    return job.positions * job.words + engine.compute_latency + HANDOVER


def store_cycles(engine: Engine, job: Job) -> int:
    """Outputs of a job that makes the last pass, else 0."""
    return job.positions * job.output_words + STORE_LATENCY + HANDOVER if job.last else 0


def count(engine: Engine, work: Iterable[Job], outer: Outer = "rows") -> Cycles:
    """The three phases side by side, each waiting for what `engine.py` says."""
    loaded = stored = 0
    computed, sums_free = [0, 0], [0, 0]  # ends of the last two
    busy = (0, 0, 0)
    for job in work:
        load, compute, store = (
            load_cycles(engine, job),
            compute_cycles(engine, job),
            store_cycles(engine, job),
        )
        if load:
            loaded = max(loaded, computed[0]) + load + HANDOVER
        begins = max(loaded, computed[1], sums_free[0] if job.first else 0)
        computed = [computed[1], begins + compute]
        if job.last:
            stored = max(stored, computed[1]) + store
            sums_free = [sums_free[1], stored]
        busy = (busy[0] + load, busy[1] + compute, busy[2] + store)
    return Cycles(max(stored, computed[1]), *busy, outer)


@lru_cache(maxsize=65536)
def product_cycles(engine: Engine, product: Product, times: int = 1) -> Cycles:
    """Cycles of a product in the better order of its tiles; of several alike, one begins as the one before is stored.

    >>> from spokeshave.devices.fpga.engine import Lanes
    >>> engine = Engine(Lanes(int8=64), columns=32, positions=64)
    >>> round(product_cycles(engine, Product((("int8", 768),), 768, 197)).total / (12 * 24 * 197), 2)
    1.09
    """
    orders: tuple[Outer, ...] = ("rows", "positions")
    return min((_chained(engine, product, outer, times) for outer in orders), key=lambda found: found.total)


def _chained(engine: Engine, product: Product, outer: Outer, times: int) -> Cycles:
    """So many products alike; beyond `CHAINED` each takes as long as the last of these."""
    work = list(jobs(engine, product, outer))
    found = count(engine, work * min(times, CHAINED), outer)
    if times <= CHAINED:
        return found
    before, more = count(engine, work * (CHAINED - 1), outer), times - CHAINED
    return replace(
        count(engine, work, outer).times(times), total=found.total + more * (found.total - before.total)
    )


@lru_cache(maxsize=65536)
def step_cycles(engine: Engine, product: Product) -> Cycles:
    """Cycles of one step of a recurrent layer, whose weights stay where they fit."""
    return count(engine, jobs(engine, product, resident=stays(engine, product)))
