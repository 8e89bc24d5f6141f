"""Simulators of Verilog: Icarus Verilog, which starts at once, and Verilator, which builds a program that runs fast."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spokeshave.devices.fpga.verilog.module import Module, modules_of
from spokeshave.errors import SpokeshaveError

Simulator = Literal["icarus", "verilator"]
PROGRAMS: Mapping[Simulator, tuple[str, ...]] = {
    "icarus": ("iverilog", "vvp"),
    "verilator": ("verilator", "make", "g++"),
}
PATIENCE = 600  # seconds
HOW = "`apt-get install iverilog` (or `apt-get install verilator make g++`)"


def why_not_simulated(simulator: Simulator) -> str | None:
    """None where the simulator is on the path, else what is missing."""
    missing = [program for program in PROGRAMS[simulator] if shutil.which(program) is None]
    return f"{', '.join(missing)} not found; {HOW} brings a simulator of Verilog" if missing else None


def find_simulator(preferred: Simulator | None = None) -> Simulator:
    """The simulator that is preferred, or else the first that is there; raises SpokeshaveError where none is."""
    for simulator in (preferred,) if preferred else PROGRAMS:
        if why_not_simulated(simulator) is None:
            return simulator
    raise SpokeshaveError(f"no simulator of Verilog is installed; {HOW} brings one, models need none")


@dataclass(frozen=True)
class Program:
    """A testbench that is built; it reads and writes files of its folder."""

    folder: Path
    command: tuple[str, ...]

    def run(self, **arguments: str | int) -> str:
        """What it prints, given plus arguments (`+name=value`); raises SpokeshaveError where it fails."""
        given = [f"+{name}={value}" for name, value in arguments.items()]
        return _run([*self.command, *given], self.folder)


def build(testbench: Module, folder: Path, simulator: Simulator) -> Program:
    """Write a testbench and all modules in it to a folder, one file each, and build it there.

    Raises SpokeshaveError where the simulator is missing or fails.
    """
    missing = why_not_simulated(simulator)
    if missing is not None:
        raise SpokeshaveError(f"{missing}, models need none")
    files = write_modules(testbench, folder)
    if simulator == "icarus":
        _run(["iverilog", "-g2005", "-s", testbench.name, "-o", "simulated.vvp", *files], folder)
        return Program(folder, ("vvp", "-n", "simulated.vvp"))
    quick = ("-Wno-fatal", "-Wno-lint", "-Wno-style", "-CFLAGS", "-O1")
    _run(["verilator", "--binary", *quick, "--top-module", testbench.name, *files], folder)
    return Program(folder, (str(folder / "obj_dir" / f"V{testbench.name}"),))


def write_modules(top: Module, folder: Path) -> list[str]:
    """Write each module to a file of its name; returns the files."""
    modules = modules_of(top)
    for module in modules.values():
        (folder / f"{module.name}.v").write_text(module.text)
    return [f"{name}.v" for name in modules]


def lint(top: Module, folder: Path) -> str:
    """What Verilator's strictest check says about a module and all that stand in it: nothing where all is well."""
    files = write_modules(top, folder)
    command = ["verilator", "--lint-only", "-Wall", "-Wno-fatal", "--top-module", top.name, *files]
    return _run(command, folder, complaints=True)


def _run(command: Sequence[str], folder: Path, complaints: bool = False) -> str:
    try:
        finished = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired as late:
        raise SpokeshaveError(f"{command[0]} was not done after {PATIENCE} s") from late
    if finished.returncode:
        told = (finished.stderr or finished.stdout).strip()
        raise SpokeshaveError(f"{command[0]} ended with {finished.returncode}: {told[:400]}")
    return finished.stderr if complaints else finished.stdout
