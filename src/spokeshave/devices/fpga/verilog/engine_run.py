"""The generated engine in a simulator, on the numbers of a product."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from spokeshave.devices.fpga.engine import Engine
from spokeshave.devices.fpga.schedule import Outer
from spokeshave.devices.fpga.verilog.control import Widths
from spokeshave.devices.fpga.verilog.engine import generate_engine
from spokeshave.devices.fpga.verilog.module import Module, written
from spokeshave.devices.fpga.verilog.product import Load, Numbers, load_of, placed, resident_load
from spokeshave.devices.fpga.verilog.simulation import Program, Simulator, build, find_simulator
from spokeshave.devices.fpga.verilog.words import from_words

JOBS, BEATS, LEVELS = "jobs.hex", "beats.hex", "levels.hex"


@dataclass(frozen=True)
class Simulated:
    """What the engine made, `[rows, positions]`, and in how many cycles."""

    levels: Tensor
    cycles: int


@dataclass(frozen=True)
class SimulatedEngine:
    """An engine that is built in a folder for a simulator; it runs products one after the other."""

    engine: Engine
    program: Program

    def run(self, numbers: Numbers, outer: Outer = "rows") -> Simulated:
        """Levels and cycles of a product."""
        words, cycles = self._run(load_of(self.engine, numbers, outer), numbers)
        return Simulated(self._placed(words, numbers, outer), cycles)

    def run_steps(self, numbers: Numbers, steps: Sequence[Tensor]) -> Simulated:
        """Levels `[steps, rows, positions]` and all cycles of products alike but for their inputs.

        Weights, which must fit (`stays`), are loaded once before all steps.
        """
        products = [replace(numbers, inputs=inputs) for inputs in steps]
        load = resident_load(self.engine, numbers)
        for product in products:
            load += load_of(self.engine, product, resident=True)
        words, cycles = self._run(load, numbers)
        each = (len(words) - 1) // len(steps)  # the first word came of loading
        parts = [words[1 + start * each :][:each] for start in range(len(steps))]
        pairs = zip(parts, products, strict=True)
        return Simulated(torch.stack([self._placed(part, product) for part, product in pairs]), cycles)

    def _run(self, load: Load, numbers: Numbers) -> tuple[list[str], int]:
        write_load(self.program.folder, load)
        printed = self.program.run(low=numbers.low, high=numbers.high, zero_point=numbers.zero_point)
        cycles = next(int(line.split()[0]) for line in printed.splitlines() if line.endswith("cycles"))
        return (self.program.folder / LEVELS).read_text().split(), cycles

    def _placed(self, words: list[str], numbers: Numbers, outer: Outer = "rows") -> Tensor:
        levels = from_words(words, 8, signed=numbers.zero_point + numbers.low < 0)
        return placed(self.engine, numbers, levels[:, : self.engine.outputs], outer)


def simulated_engine(engine: Engine, folder: Path, simulator: Simulator | None = None) -> SimulatedEngine:
    """Generate and build an engine; raises SpokeshaveError where there is no simulator."""
    return SimulatedEngine(engine, build(engine_bench(engine), folder, simulator or find_simulator()))


def engine_bench(engine: Engine, low: int = -128, high: int = 127, zero_point: int = 0) -> Module:
    """The testbench that reads what `write_load` writes; bounds and zero point are those it has unless told others."""
    numbers = {"JOB": Widths.of(engine).job, "BEAT": 8 * engine.load_bytes, "LEVELS": 8 * engine.outputs}
    numbers |= {"LOW": low, "HIGH": high, "ZERO_POINT": zero_point}
    return written("testbench", "engine_bench", (), numbers, uses={"engine": generate_engine(engine)})


def write_load(folder: Path, load: Load) -> None:
    """Write jobs and beats as the testbench reads them."""
    for name, words in ((JOBS, load.jobs), (BEATS, load.beats)):
        (folder / name).write_text("".join(f"{word}\n" for word in words))
