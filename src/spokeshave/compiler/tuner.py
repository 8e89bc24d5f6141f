"""The tuner: times the candidate schedules of every product of a graph on this machine, and keeps the fastest.

All candidates of all products are generated as one library. The candidates of one product then run in turn, many
short runs each, on the layouts that the network gives them; those that are far behind after a few runs stop early, and
the least time counts, because whatever else the machine does can only add to it. Every result goes to the cache at
once, so an interrupted tuning goes on where it stopped.
"""

import ctypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from spokeshave.compiler.build import Compiler, build_library, load_library
from spokeshave.compiler.emit.arena import plan_arena
from spokeshave.compiler.emit.lower import lower_alone
from spokeshave.compiler.emit.program import Program
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet, why_not_here
from spokeshave.compiler.operations import Convolution, Linear, Quantized, Rounded
from spokeshave.compiler.runtime import aligned
from spokeshave.compiler.schedule import Chooser, Product, Schedule, candidates, schedule_for
from spokeshave.compiler.schedule_cache import ScheduleCache
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.scheme import Packed

Progress = Callable[[int, int, str], None]  # products done, products in all, the layer at hand

SCREENING_RUNS, RUNS = 4, 24
BEHIND = 1.15  # after the screening, candidates this much slower than the best stop
WORTH_CHANGING = 0.98  # of the default's time: what is not faster than noise leaves the default


@dataclass(frozen=True)
class Tuner:
    """Where programs will run: instruction set, compiler, threads; and who is told of progress.

    Raises SpokeshaveError when this CPU does not run the instruction set.
    """

    isa: InstructionSet
    compiler: Compiler
    threads: int = 1
    progress: Progress | None = None

    def __post_init__(self) -> None:
        reason = why_not_here(self.isa)
        if reason is not None:
            raise SpokeshaveError(f"tuning runs code on this machine: {self.isa.name} cannot run, {reason}")

    def tune(self, segments: Sequence[Graph], packed: Mapping[str, Packed]) -> Chooser:
        """A chooser that gives every product of the segments its fastest schedule.

        Raises SpokeshaveError when the generated C cannot be built or the cache folder cannot be written.
        """
        cache = ScheduleCache(self.isa, self.compiler, self.threads)
        chooser = _Cached(cache, self.isa, self.threads)
        trials = _trials(segments, packed, chooser)
        if trials:
            library = self._library(trials, packed)
            first = 0
            for done, trial in enumerate(trials):
                if self.progress:
                    self.progress(done, len(trials), trial.node.layer)
                programs = self._programs(trial, packed)
                cache.add(trial.key, self._fastest(library, first, trial, programs))
                first += len(programs)
            if self.progress:
                self.progress(len(trials), len(trials), "")
        return chooser

    def _programs(self, trial: "_Trial", packed: Mapping[str, Packed]) -> list[Program]:
        return [
            lower_alone(trial.segment, trial.node, self.isa, packed, _always(schedule))
            for schedule in trial.schedules
        ]

    def _library(self, trials: Iterable["_Trial"], packed: Mapping[str, Packed]) -> ctypes.CDLL:
        """All programs in one library; only names of constants are needed, so packed weights are let go."""
        nothing = np.zeros(0, np.float32)
        programs = [
            replace(program, constants=dict.fromkeys(program.constants, nothing))
            for trial in trials
            for program in self._programs(trial, packed)
        ]
        source = emit_source(programs, [plan_arena(program) for program in programs], self.isa)
        return load_library(Path(build_library(source, self.isa, self.compiler)))

    def _fastest(
        self, library: ctypes.CDLL, first: int, trial: "_Trial", programs: list[Program]
    ) -> Schedule:
        floats = max(plan_arena(program).floats for program in programs)
        arena = aligned(torch.randn(floats))
        runs = [
            _Run(library[f"segment_{first + index}"], program, arena, self.threads)
            for index, program in enumerate(programs)
        ]
        least = [float("inf")] * len(runs)
        racing = list(range(len(runs)))
        for number in range(RUNS):
            for index in racing:
                least[index] = min(least[index], runs[index].seconds())
            if number + 1 == SCREENING_RUNS:
                racing = [index for index in racing if least[index] <= BEHIND * min(least)]
        best = min(racing, key=least.__getitem__)
        return trial.schedules[best if least[best] < WORTH_CHANGING * least[0] else 0]


@dataclass(frozen=True)
class _Cached:
    """The chooser: what the cache holds, if it is a candidate of the product at hand; the estimate otherwise."""

    cache: ScheduleCache
    isa: InstructionSet
    threads: int

    def known(self, product: Product) -> Schedule | None:
        found = self.cache.get(product.key)
        return found if found in candidates(product, self.isa, self.threads) else None

    def __call__(self, product: Product) -> Schedule:
        return self.known(product) or schedule_for(product, self.isa)


@dataclass(frozen=True)
class _Trial:
    """A product that has not been timed yet: one node that computes it, and its candidates."""

    segment: Graph
    node: Node
    key: str
    schedules: tuple[Schedule, ...]


def _always(schedule: Schedule) -> Chooser:
    return lambda _: schedule


def _trials(segments: Sequence[Graph], packed: Mapping[str, Packed], chooser: _Cached) -> tuple[_Trial, ...]:
    found: dict[str, _Trial] = {}
    for segment in segments:
        for node in segment.nodes:
            for product in _products(segment, node, packed, chooser.isa):
                if product.key not in found and chooser.known(product) is None:
                    schedules = candidates(product, chooser.isa, chooser.threads)
                    found[product.key] = _Trial(segment, node, product.key, schedules)
    return tuple(found.values())


def _products(segment: Graph, node: Node, packed: Mapping[str, Packed], isa: InstructionSet) -> list[Product]:
    """The products that lowering a node asks schedules for."""
    products = []

    def note(product: Product) -> Schedule:
        products.append(product)
        return schedule_for(product, isa)

    if isinstance(node.operation, Convolution | Linear | Quantized | Rounded):
        lower_alone(segment, node, isa, packed, note)
    return products


class _Run:
    """One candidate's program, ready to run on an arena filled with any numbers."""

    def __init__(
        self, function: Callable[..., int], program: Program, arena: torch.Tensor, threads: int
    ) -> None:
        self._constants = [aligned(torch.from_numpy(array)) for array in program.constants.values()]
        pointers = (ctypes.c_void_p * len(self._constants))(*(t.data_ptr() for t in self._constants))
        self._clock = (ctypes.c_double * len(program.steps))()
        self._function, self._arena = function, arena
        arguments = (pointers, ctypes.c_void_p(arena.data_ptr()), None, None, ctypes.c_long(1))
        self._arguments = (*arguments, self._clock, threads)

    def seconds(self) -> float:
        """Time of one run by the program's own clock."""
        self._clock[0] = 0.0
        self._function(*self._arguments)
        return self._clock[0]
