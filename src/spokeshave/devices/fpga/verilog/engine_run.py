"""The generated engine in a simulator, on the numbers of a product."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from spokeshave.devices.fpga.engine import Engine
from spokeshave.devices.fpga.schedule import Outer
from spokeshave.devices.fpga.verilog.control import Widths
from spokeshave.devices.fpga.verilog.engine import generate_engine
from spokeshave.devices.fpga.verilog.module import Module, written
from spokeshave.devices.fpga.verilog.product import Numbers, load_of, placed
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
        write_load(self.program.folder, self.engine, numbers, outer)
        printed = self.program.run(low=numbers.low, high=numbers.high, zero_point=numbers.zero_point)
        cycles = next(int(line.split()[0]) for line in printed.splitlines() if line.endswith("cycles"))
        signed = numbers.zero_point + numbers.low < 0
        levels = from_words((self.program.folder / LEVELS).read_text().split(), 8, signed)
        return Simulated(placed(self.engine, numbers, levels[:, : self.engine.outputs], outer), cycles)


def simulated_engine(engine: Engine, folder: Path, simulator: Simulator | None = None) -> SimulatedEngine:
    """Generate and build an engine; raises SpokeshaveError where there is no simulator."""
    return SimulatedEngine(engine, build(engine_bench(engine), folder, simulator or find_simulator()))


def engine_bench(engine: Engine, low: int = -128, high: int = 127, zero_point: int = 0) -> Module:
    """The testbench that reads what `write_load` writes; bounds and zero point are those it has unless told others."""
    numbers = {"JOB": Widths.of(engine).job, "BEAT": 8 * engine.load_bytes, "LEVELS": 8 * engine.outputs}
    numbers |= {"LOW": low, "HIGH": high, "ZERO_POINT": zero_point}
    return written("testbench", "engine_bench", (), numbers, uses={"engine": generate_engine(engine)})


def write_load(folder: Path, engine: Engine, numbers: Numbers, outer: Outer = "rows") -> None:
    """Write jobs and beats of a product as the testbench reads them."""
    load = load_of(engine, numbers, outer)
    for name, words in ((JOBS, load.jobs), (BEATS, load.beats)):
        (folder / name).write_text("".join(f"{word}\n" for word in words))
