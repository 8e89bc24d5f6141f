"""AMX without the hardware: the same kernels, with tile instructions that vectors stand for."""

from dataclasses import replace

from spokeshave.compiler.isa import InstructionSet, best_here, instruction_set


def emulated_amx() -> InstructionSet:
    """`avx512_amx` as this CPU can run it."""
    here = best_here()
    flags = (*here.extra, "-DSPOKESHAVE_EMULATE_AMX", "-Wno-psabi")
    return replace(instruction_set("avx512_amx"), march=here.march, zig_cpu=here.zig_cpu, extra=flags)
