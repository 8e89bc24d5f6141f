"""Instruction sets: what kernels are generated for, and which of them this CPU runs."""

import ctypes
import platform
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from spokeshave.errors import SpokeshaveError

ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XTILEDATA = (
    158,
    0x1023,
    18,
)  # Linux: a system call, its request, a part of the state


@dataclass(frozen=True)
class InstructionSet:
    """One entry of `isa.toml`; `rows_by_vectors` and `tiles_to_time` list register tiles (rows, vectors)."""

    name: str
    machine: str
    lanes: int
    registers: int
    features: tuple[str, ...]
    march: str
    zig_cpu: str
    extra: tuple[str, ...]
    rows_by_vectors: tuple[tuple[int, int], ...]
    tiles_to_time: tuple[tuple[int, int], ...]
    level_two_bytes: int

    @property
    def c_flags(self) -> tuple[str, ...]:
        """Flags of gcc and clang that select it."""
        return ((f"-march={self.march}",) if self.march else ()) + self.extra

    @property
    def has_amx(self) -> bool:
        """Whether it has tile registers for int8 and bfloat16."""
        return {"amx_tile", "amx_int8", "amx_bf16"} <= set(self.features)

    @property
    def multiplies_bfloat16(self) -> bool:
        """Whether it multiplies bfloat16 numbers faster than float32: in vectors, or in tiles where it has these."""
        return "avx512_bf16" in self.features

    @property
    def looks_up_words(self) -> bool:
        """Whether one instruction looks up 16-bit numbers in a table of 32."""
        return "avx512bw" in self.features

    def vectors_for(self, rows: int) -> int:
        """Widest tile, in vectors, of a panel kernel with this many rows."""
        return dict(self.rows_by_vectors)[rows]


@cache
def instruction_sets() -> dict[str, InstructionSet]:
    """Every instruction set that kernels can be generated for, by name, best first."""
    text = resources.files("spokeshave.compiler.kernels").joinpath("isa.toml").read_text()
    return {name: _parse(name, entry) for name, entry in tomllib.loads(text).items()}


def _parse(name: str, entry: dict) -> InstructionSet:
    tuples = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    for tiles in ("rows_by_vectors", "tiles_to_time"):
        tuples[tiles] = tuple(tuple(pair) for pair in entry[tiles])
    return InstructionSet(name=name, **(entry | tuples))


@cache
def cpu_features() -> frozenset[str]:
    """Feature names of this CPU as the kernel prints them; empty where there is no /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = [line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))]
    return frozenset(found[0].split()) if found else frozenset()


def why_not_here(isa: InstructionSet) -> str | None:
    """None when this machine's CPU has every feature that `isa` needs, else the reason why it cannot run it."""
    if isa.machine not in ("", platform.machine()):
        return f"it is for {isa.machine}, this machine is {platform.machine()}"
    lacking = [feature for feature in isa.features if feature not in cpu_features()]
    if lacking:
        return f"this CPU lacks {', '.join(lacking)}"
    if isa.has_amx and not amx_permitted():
        return "the operating system does not let this process use the CPU's tile registers"
    return None


@cache
def amx_permitted() -> bool:
    """Ask Linux to let this process use AMX's tile registers: their state is large, so it wants to be asked.

    The request holds for all threads and for children (Documentation/arch/x86/xstate.rst).
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    return ctypes.CDLL(None).syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0


def runs_here(isa: InstructionSet) -> bool:
    """Whether this machine's CPU can run `isa`."""
    return why_not_here(isa) is None


def best_here() -> InstructionSet:
    """The best instruction set of this CPU."""
    return next(isa for isa in instruction_sets().values() if runs_here(isa))


def instruction_set(name: str | None) -> InstructionSet:
    """The named instruction set, or the best one here for None; raises SpokeshaveError for an unknown name."""
    if name is None:
        return best_here()
    if name not in instruction_sets():
        raise SpokeshaveError(
            f"there is no instruction set {name!r}; known ones are {', '.join(instruction_sets())}"
        )
    return instruction_sets()[name]


def level_two_cache_bytes(isa: InstructionSet) -> int:
    """Size of one core's level-2 cache: this CPU's where it runs `isa`, else a usual one of such CPUs."""
    if not runs_here(isa):
        return isa.level_two_bytes
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
        return int(text.removesuffix("K")) * 1024
    except (OSError, ValueError):
        return isa.level_two_bytes
